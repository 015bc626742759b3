//! TLS on the listener: which certificates, for which names, and when to reload their files.
//!
//! It decides nothing about who a client is: a client certificate proves only that the configured authority signed it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

use crate::clock;
use crate::lasting::Lasting;

/// The files of the listener's certificates, all in PEM format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsOptions {
    /// Chosen by the name that the client requests; the first one serves any other name. Not empty.
    pub certificates: Vec<CertificateFiles>,
    /// If set, clients must have a certificate signed by this authority.
    pub client_ca: Option<PathBuf>,
}

/// A certificate with its chain, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} cannot be read as PEM: {error}", path.display())]
    File { path: PathBuf, error: String },
    #[error("{} holds no certificate", .0.display())]
    Empty(PathBuf),
    #[error("{} is not the key of {}: {error}", key.display(), cert.display())]
    Key { key: PathBuf, cert: PathBuf, error: String },
    #[error("the authority in {} cannot be used: {error}", path.display())]
    Authority { path: PathBuf, error: String },
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// The shortest interval between two checks of the files.
const INTERVAL: Duration = Duration::from_secs(1);

/// The listener's TLS configuration, which follows its files.
pub struct TlsFiles {
    options: TlsOptions,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    stamps: Vec<Stamp>,
    looked: Instant,
    failing: Lasting,
}

/// Identifies a version of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(Option<(SystemTime, u64)>);

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// The files cannot be used.
    pub fn open(options: TlsOptions) -> Result<TlsFiles, TlsError> {
        let stamps = stamps(&options);
        let config = Arc::new(load(&options)?);
        let loaded = Loaded { config, stamps, looked: clock::now(), failing: Lasting::new() };
        Ok(TlsFiles { options, loaded: Mutex::new(loaded) })
    }

    /// Returns the configuration for the next connection. Files that have changed are read again. Until the new ones
    /// can be used, the old ones stay in use.
    pub fn config(&self) -> Arc<ServerConfig> {
        let now = clock::now();
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(loaded.looked) >= INTERVAL {
            loaded.looked = now;
            self.follow(&mut loaded, now);
        }
        Arc::clone(&loaded.config)
    }

    fn follow(&self, loaded: &mut Loaded, now: Instant) {
        let stamps = stamps(&self.options);
        if stamps == loaded.stamps {
            return;
        }
        match load(&self.options) {
            Ok(config) => {
                loaded.config = Arc::new(config);
                loaded.stamps = stamps;
                loaded.failing = Lasting::new();
                tracing::info!("reloaded the listener's certificates");
            }
            // Tried again: a file may be in the middle of being replaced.
            Err(error) => {
                if let Some(times) = loaded.failing.seen(now).times() {
                    tracing::warn!(%error, times, "the listener's new certificates cannot be used; keeping the old ones");
                }
            }
        }
    }
}

fn stamps(options: &TlsOptions) -> Vec<Stamp> {
    let files = options.certificates.iter().flat_map(|files| [&files.cert, &files.key]).chain(&options.client_ca);
    let stamp = |path: &PathBuf| {
        let seen = std::fs::metadata(path).ok()?;
        Some((seen.modified().ok()?, seen.len()))
    };
    files.map(|path| Stamp(stamp(path))).collect()
}

/// TLS 1.2 or 1.3, HTTP/2 or HTTP/1.1.
fn load(options: &TlsOptions) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let keys: Result<Vec<Arc<CertifiedKey>>, TlsError> =
        options.certificates.iter().map(|files| certified(files, &provider).map(Arc::new)).collect();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    let builder = match &options.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let wrong = |error: String| TlsError::Authority { path: path.clone(), error };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong(error.to_string()))?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByName(keys?)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certified(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| TlsError::File { path: files.key.clone(), error: error.to_string() })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| TlsError::Key {
        key: files.key.clone(),
        cert: files.cert.clone(),
        error: error.to_string(),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong =
        |error: rustls::pki_types::pem::Error| TlsError::File { path: path.to_owned(), error: error.to_string() };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(wrong)?.collect();
    let found = found.map_err(wrong)?;
    if found.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(found) }
}

/// Chooses the certificate that covers the requested name, or else the first.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let named = name.and_then(|name| self.0.iter().find(|key| names(key, &name)));
        named.or_else(|| self.0.first()).cloned()
    }
}

fn names(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let parsed = key.end_entity_cert().ok().and_then(|certificate| ParsedCertificate::try_from(certificate).ok());
    parsed.is_some_and(|parsed| verify_server_name(&parsed, name).is_ok())
}

/// The answer to a client that does not speak TLS.
pub(super) const HINT: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 123\r\n\
connection: close\r\n\r\n{\"error\":\"InvalidArgumentError\",\"message\":\"This port speaks HTTPS: begin the URL with https://\",\"reason\":\"https_required\"}\n";

/// The first byte of a TLS connection: a handshake record.
pub(super) const HANDSHAKE_RECORD: u8 = 0x16;

/// Logs an error of the connection.
pub(super) fn closed(error: &io::Error) {
    tracing::debug!(%error, "a TLS connection could not be set up");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_is_as_long_as_it_says() {
        let text = std::str::from_utf8(HINT).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{}", body.len());
        serde_json::from_str::<serde_json::Value>(body).unwrap();
    }
}
