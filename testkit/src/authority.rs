//! A certificate authority for tests, and the TLS ends that it certifies.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, version};

/// A server's end, with a certificate for one name.
pub struct Certified {
    /// The certificate that a client must trust, as PEM.
    pub authority: String,
    pub server: Arc<ServerConfig>,
}

/// Signs certificates.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

/// The two files of a certificate, both PEM.
#[derive(Clone, Debug)]
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Authority {
    /// Creates a new authority.
    pub fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority's certificate"))
    }

    /// Returns the certificate that clients must trust, as PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate for this name, and its key, into the folder.
    pub fn issue(&self, name: &str, folder: &Path) -> Files {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a certificate's name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let files = Files { cert: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        std::fs::write(&files.cert, certificate.pem()).expect("a file");
        std::fs::write(&files.key, key.serialize_pem()).expect("a file");
        files
    }

    /// Returns a server's end for this name. With `clients`, clients must show a certificate of that authority.
    pub fn server(&self, name: &str, clients: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec![name.to_owned()]).expect("a certificate's name");
        let leaf = leaf.signed_by(&key, &self.0).expect("a certificate");
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&version::TLS12, &version::TLS13])
            .expect("versions of TLS");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        Arc::new(builder.with_single_cert(vec![leaf.der().clone()], key).expect("a server's certificate"))
    }
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

/// Returns a new authority and a server's end for this name, certified by it.
pub fn certified(name: &str) -> Certified {
    let authority = Authority::new();
    Certified { authority: authority.pem(), server: authority.server(name, None) }
}
