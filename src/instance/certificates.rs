//! The TLS files for a server: the authorities that vouch for it, and the edge's own certificate.
//!
//! A file that passes here cannot fail, or panic, when Pingora connects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::utils::tls::CertKey;

use super::options::OwnCertificate;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileMistake {
    #[error("cannot use {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("{} is not the key of {}: {reason}", key.display(), cert.display())]
    Key { key: PathBuf, cert: PathBuf, reason: String },
}

fn mistake(path: &Path, reason: impl ToString) -> FileMistake {
    FileMistake::File { path: path.to_owned(), reason: reason.to_string() }
}

/// Reads the authorities in a PEM file.
#[cfg(feature = "tls")]
pub(super) fn authorities(path: &Path) -> Result<Arc<CaType>, FileMistake> {
    use pingora::utils::tls::{WrappedX509, parse_x509};

    let certificates = certificates(path)?;
    Ok(certificates.into_iter().map(|certificate| WrappedX509::new(certificate, parse_x509)).collect())
}

/// Reads the edge's certificate and key, and checks that they belong together.
#[cfg(feature = "tls")]
pub(super) fn own(own: &OwnCertificate) -> Result<Arc<CertKey>, FileMistake> {
    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::sign::CertifiedKey;

    let chain = certificates(&own.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&own.key_file).map_err(|error| mistake(&own.key_file, error))?;
    let der = key.secret_der().to_vec();
    // Pingora guesses the kind of the key from its bytes when it uses it.
    let guessed = PrivateKeyDer::try_from(der.as_slice()).map_err(|error| mistake(&own.key_file, error))?;
    let shown = chain.iter().cloned().map(CertificateDer::from).collect();
    CertifiedKey::from_der(shown, guessed.clone_key(), &ring::default_provider()).map_err(|error| {
        FileMistake::Key { key: own.key_file.clone(), cert: own.cert_file.clone(), reason: error.to_string() }
    })?;
    Ok(Arc::new(CertKey::new(chain, der)))
}

/// Reads the certificates in a PEM file, one or more.
#[cfg(feature = "tls")]
fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, FileMistake> {
    use x509_parser::pem::Pem;

    let text = std::fs::read(path).map_err(|error| mistake(path, error))?;
    let mut certificates = Vec::new();
    for block in Pem::iter_from_buffer(&text) {
        let block = block.map_err(|error| mistake(path, error))?;
        if block.label != "CERTIFICATE" {
            continue;
        }
        // `parse_x509` panics on anything that this check refuses.
        block.parse_x509().map_err(|error| mistake(path, error))?;
        certificates.push(block.contents);
    }
    if certificates.is_empty() { Err(mistake(path, "no certificate in it")) } else { Ok(certificates) }
}

#[cfg(not(feature = "tls"))]
pub(super) fn authorities(path: &Path) -> Result<Arc<CaType>, FileMistake> {
    Err(mistake(path, NOT_BUILT))
}

#[cfg(not(feature = "tls"))]
pub(super) fn own(own: &OwnCertificate) -> Result<Arc<CertKey>, FileMistake> {
    Err(mistake(&own.cert_file, NOT_BUILT))
}

#[cfg(not(feature = "tls"))]
const NOT_BUILT: &str = "this edge is built without the `tls` feature";

#[cfg(all(test, feature = "tls"))]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let garbage = "-----BEGIN CERTIFICATE-----\nMAoCAQECAQECAQE=\n-----END CERTIFICATE-----\n";
        for text in ["", "not a certificate", garbage] {
            std::fs::write(&path, text).unwrap();
            assert!(authorities(&path).is_err(), "{text}");
        }
        assert!(authorities(&dir.path().join("absent.pem")).is_err());
    }

    #[test]
    fn an_own_certificate_comes_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = || {
            let key = KeyPair::generate().unwrap();
            (
                CertificateParams::new(vec!["edge".to_owned()]).unwrap().self_signed(&key).unwrap().pem(),
                key.serialize_pem(),
            )
        };
        let ((cert, key), (other, _)) = (pair(), pair());
        let (cert_file, key_file) = (write("cert.pem", &cert), write("key.pem", &key));
        let with = |cert_file: &PathBuf, key_file: &PathBuf| {
            own(&OwnCertificate { cert_file: cert_file.clone(), key_file: key_file.clone() })
        };
        assert!(with(&cert_file, &key_file).is_ok());
        assert!(matches!(with(&write("other.pem", &other), &key_file), Err(FileMistake::Key { .. })));
        for (cert_file, key_file) in [
            (&cert_file, &cert_file),
            (&key_file, &key_file),
            (&cert_file, &write("empty.pem", "")),
            (&cert_file, &dir.path().join("absent.pem")),
        ] {
            assert!(matches!(with(cert_file, key_file), Err(FileMistake::File { .. })), "{cert_file:?} {key_file:?}");
        }
    }
}
