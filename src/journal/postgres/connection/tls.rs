//! TLS to the database, as set by `sslmode`: what is encrypted and what is checked.
//!
//! `prefer` and `require` check nothing, as in libpq: they protect against eavesdropping, not against another server
//! that answers in place of the real one. `verify-ca` checks who signed the certificate, `verify-full` also checks the
//! host name.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{DatabaseUrl, Encryption, Trusted};

/// Returns a connector with the encryption that this URL asks for.
pub(in crate::journal::postgres) fn connector(url: &DatabaseUrl) -> Result<MakeRustlsConnect, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let check = match url.encryption() {
        Encryption::Disabled | Encryption::Preferred | Encryption::Required => Check::Nothing,
        Encryption::SignedByTrusted => Check::Signature,
        Encryption::Verified => Check::SignatureAndName,
    };
    let trusted = match check {
        Check::Nothing => None,
        Check::Signature | Check::SignatureAndName => {
            let roots = Arc::new(roots(url.trusted())?);
            let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
            Some(verifier.build().map_err(|error| error.to_string())?)
        }
    };
    let verifier = Arc::new(Verifier { check, trusted, provider });
    let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn roots(trusted: &Trusted) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let (found, place) = match trusted {
        Trusted::System => {
            let found = rustls_native_certs::load_native_certs();
            (found.certs, "the system's certificate store".to_owned())
        }
        Trusted::File(path) => {
            let place = path.display().to_string();
            let failed = |error| format!("cannot read sslrootcert {place}: {error}");
            let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
            (found.collect::<Result<Vec<_>, _>>().map_err(failed)?, place)
        }
    };
    roots.add_parsable_certificates(found);
    if roots.is_empty() {
        return Err(format!("{place} holds no certificate that can be trusted"));
    }
    Ok(roots)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Signature,
    SignatureAndName,
}

/// rustls's own check, or part of it.
#[derive(Debug)]
struct Verifier {
    check: Check,
    trusted: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        match trusted.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is checked last, so everything else is valid.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Signature => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
