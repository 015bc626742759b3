//! TLS on the listener: which certificate is used, from which file, for which name, and how a client without TLS is
//! answered.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use testkit::place::{data_dir, wait_for};
use testkit::{ChromaServer, Edge};

const START: Duration = Duration::from_secs(60);

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority's certificate")
}

/// Writes a certificate for this name, and its key.
fn issue(by: &CertifiedIssuer<'static, KeyPair>, name: &str, folder: &Path) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, by).expect("a certificate");
    std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("a file");
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("a file");
}

fn keys(folder: &Path, name: &str) -> String {
    format!("cert: {:?}, key: {:?}", folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")))
}

/// Returns the configuration of a client, with what it trusts and shows.
fn client(trusted: &str, shown: Option<(&Path, &str)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted.as_bytes()).expect("a certificate");
    roots.add(trusted).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let builder = builder.with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some((folder, name)) => {
            let certificate = CertificateDer::from_pem_file(folder.join(format!("{name}.pem"))).expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).expect("a key");
            builder.with_client_auth_cert(vec![certificate], key).expect("a client's certificate")
        }
    })
}

/// Returns the first line of the answer to a request under this name.
fn ask(edge: &Edge, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<String> {
    let stream = TcpStream::connect(edge.client().address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let session = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(session, stream);
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    // The edge may close without a TLS close message.
    let read = stream.read_to_end(&mut text);
    if text.is_empty() {
        read?;
    }
    Ok(String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned())
}

struct Fixture {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
    edge: Edge,
    _servers: Vec<ChromaServer>,
}

impl Fixture {
    fn new(more: &str) -> Fixture {
        let (authority, folder) = (authority(), data_dir("certificates"));
        for name in ["localhost", "other.example", "client"] {
            issue(&authority, name, folder.path());
        }
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).expect("a file");
        let servers = vec![ChromaServer::fresh(), ChromaServer::fresh()];
        let tls = format!(
            "  tls: {{ {}, more: [{{ {} }}]{} }}",
            keys(folder.path(), "localhost"),
            keys(folder.path(), "other.example"),
            more.replace("CA", &format!("{:?}", folder.path().join("ca.pem"))),
        );
        let edge = Edge::builder().instances(&servers.iter().collect::<Vec<_>>()).config(&tls).launch();
        Fixture { authority, folder, edge, _servers: servers }
    }

    fn trusting(&self) -> Arc<ClientConfig> {
        client(&self.authority.pem(), None)
    }
}

#[test]
fn each_name_has_its_certificate_and_a_new_file_is_read() {
    let fixture = Fixture::new("");
    let config = fixture.trusting();
    wait_for("the first answer", START, || ask(&fixture.edge, "localhost", &config).ok());
    assert_eq!(ask(&fixture.edge, "localhost", &config).expect("an answer"), "HTTP/1.1 200 OK");
    assert_eq!(ask(&fixture.edge, "other.example", &config).expect("an answer"), "HTTP/1.1 200 OK");
    assert!(ask(&fixture.edge, "third.example", &config).is_err(), "no certificate names it");
    // An unusable file changes nothing.
    let file = fixture.folder.path().join("localhost.pem");
    std::fs::write(&file, "no certificate").expect("a file");
    wait_for("the warning", START, || {
        assert_eq!(ask(&fixture.edge, "localhost", &config).expect("an answer"), "HTTP/1.1 200 OK");
        fixture.edge.log().contains("cannot be used").then_some(())
    });
    let renewed = authority();
    issue(&renewed, "localhost", fixture.folder.path());
    let trusting = client(&renewed.pem(), None);
    wait_for("the new certificate", START, || ask(&fixture.edge, "localhost", &trusting).ok());
    assert!(ask(&fixture.edge, "localhost", &config).is_err(), "the old one is not served any more");
}

#[test]
fn who_speaks_in_clear_is_told_so() {
    let fixture = Fixture::new("");
    let config = fixture.trusting();
    wait_for("the first answer", START, || ask(&fixture.edge, "localhost", &config).ok());
    let answer = fixture.edge.client().get("/health").expect(400);
    assert_eq!(answer.json()["reason"], "https_required", "{answer}");
}

#[test]
fn without_a_clients_certificate_nobody_is_served() {
    let fixture = Fixture::new(", client_ca: CA");
    let known = client(&fixture.authority.pem(), Some((fixture.folder.path(), "client")));
    wait_for("the first answer", START, || ask(&fixture.edge, "localhost", &known).ok());
    assert!(ask(&fixture.edge, "localhost", &fixture.trusting()).is_err(), "it shows none");
    let stranger = data_dir("stranger");
    issue(&authority(), "client", stranger.path());
    let unknown = client(&fixture.authority.pem(), Some((stranger.path(), "client")));
    assert!(ask(&fixture.edge, "localhost", &unknown).is_err(), "somebody else signed it");
}

#[test]
fn it_speaks_http_2() {
    let fixture = Fixture::new("");
    let config = fixture.trusting();
    wait_for("the first answer", START, || ask(&fixture.edge, "localhost", &config).ok());
    let mut peer = HttpPeer::new(fixture.edge.client().address, true, "localhost".to_owned());
    peer.options.alpn = ALPN::H2;
    peer.options.verify_cert = false;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let statuses = runtime.block_on(async {
        let connector = Connector::new(None);
        let mut statuses = Vec::new();
        for (method, path, origin, body) in [
            ("GET", "/health", None, ""),
            ("GET", "/status", Some("https://evil.example"), ""),
            (
                "POST",
                "/api/v2/tenants/default_tenant/databases/default_database/collections",
                None,
                "{\"name\":\"over-h2\"}",
            ),
            ("GET", "/api/v2/tenants/default_tenant/databases/default_database/collections/over-h2", None, ""),
        ] {
            let (mut session, _) = connector.get_http_session(&peer).await.expect("a session");
            let mut header = RequestHeader::build(method, path.as_bytes(), None).expect("a header");
            header.insert_header("host", "localhost").expect("a header");
            if let Some(origin) = origin {
                header.insert_header("origin", origin).expect("a header");
            }
            header.insert_header("content-type", "application/json").expect("a header");
            session.write_request_header(Box::new(header)).await.expect("written");
            if body.is_empty() {
                session.finish_request_body().await.expect("written");
            } else {
                session.write_request_body(body.into(), true).await.expect("written");
            }
            session.read_response_header().await.expect("an answer");
            let version = session.response_header().expect("an answer").version;
            assert_eq!(version, http::Version::HTTP_2);
            statuses.push(session.response_header().expect("an answer").status.as_u16());
        }
        statuses
    });
    assert_eq!(statuses, [200, 403, 200, 200]);
}
