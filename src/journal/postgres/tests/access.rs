//! Reaching the server: passwords, encryption, several hosts, and text that PostgreSQL does not accept unchanged.

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::support::{claimed, holder, options, store};
use crate::ids::{LaneId, Scope, Seq};
use crate::journal::contract::{append, created, draft, keyed, load, new_collection, record, status};
use crate::journal::{Claim, Draft, Fact, Leadership, LeadershipError, Lookup, Status, Store};
use crate::order::CatalogChange;
use testkit::commit_link::CommitLink;
use testkit::postgres::Postgres;

#[tokio::test]
async fn a_wrong_password_is_unusable_and_never_shown() {
    let server = Postgres::fresh();
    server.sql("CREATE ROLE edge LOGIN SUPERUSER PASSWORD 'hunter2'");
    std::fs::write(server.data().join("pg_hba.conf"), "host all edge all scram-sha-256\nhost all postgres all trust\n")
        .unwrap();
    server.sql("SELECT pg_reload_conf()");
    let url = |password: &str| server.url().replace("postgres@", &format!("edge:{password}@"));
    let claim = claimed(&store(&url("hunter3"), options("the edge"))).await;
    match claim {
        Err(LeadershipError::Unusable(text)) => assert!(!text.contains("hunter"), "{text}"),
        other => panic!("{other:?}"),
    }
    holder(&url("hunter2"), "the edge").await;
}

#[tokio::test]
async fn encryption_is_as_strict_as_sslmode_says() {
    let mut server = Postgres::fresh();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (trusted, untrusted) = (folder.path().join("ca.pem"), folder.path().join("other.pem"));
    std::fs::write(&trusted, authority.pem()).unwrap();
    std::fs::write(&untrusted, other.cert.pem()).unwrap();
    server.stop();
    server.use_certificate(&certificate.pem(), &key.serialize_pem());
    server.start();
    let attempt = async |host: &str, query: &str| {
        let url = format!("postgres://postgres@{host}:{}/postgres?{query}", server.port());
        let claim = claimed(&store(&url, options("the edge"))).await;
        matches!(claim, Ok(Claim::Granted { .. }))
    };
    let (trusted, untrusted) = (trusted.display().to_string(), untrusted.display().to_string());
    assert!(attempt("127.0.0.1", "sslmode=disable").await);
    assert!(attempt("127.0.0.1", "sslmode=require").await, "encrypted, and nothing checked");
    assert!(attempt("127.0.0.1", &format!("sslmode=verify-ca&sslrootcert={trusted}")).await, "signed, of another name");
    assert!(attempt("localhost", &format!("sslmode=verify-full&sslrootcert={trusted}")).await);
    assert!(!attempt("127.0.0.1", &format!("sslmode=verify-full&sslrootcert={trusted}")).await, "of another name");
    assert!(!attempt("localhost", &format!("sslmode=verify-ca&sslrootcert={untrusted}")).await, "signed by another");
    std::fs::write(server.data().join("pg_hba.conf"), "hostssl all all all trust\nlocal all all trust\n").unwrap();
    server.stop();
    server.start();
    let require = format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=", server.port());
    assert!(store(&format!("{require}disable"), options("x")).claim().await.is_err());
    holder(&format!("{require}prefer"), "the edge").await;
}

#[tokio::test]
async fn the_host_that_takes_writes_is_found() {
    let server = Postgres::fresh();
    let silent = CommitLink::to(server.port());
    silent.keep();
    server.sql("CREATE DATABASE reader");
    let url = format!(
        "postgres://postgres@127.0.0.1:1,127.0.0.1:{},127.0.0.1:{}/postgres?connect_timeout=1",
        silent.port(),
        server.port()
    );
    let store = store(&url, options("the edge"));
    let begun = std::time::Instant::now();
    while !matches!(store.claim().await, Ok(Claim::Granted { .. })) {
        assert!(begun.elapsed().as_secs() < 20);
    }
    assert_eq!(append(&store, vec![draft(LaneId::Catalog, "x")]).await, [Seq::new(1)]);
    drop(store);
    server.sql("ALTER DATABASE reader SET default_transaction_read_only = on");
    let claim = claimed(&super::support::store(&server.url_of("reader"), options("the edge"))).await;
    assert!(matches!(claim, Err(LeadershipError::Unavailable(_))), "{claim:?}");
}

#[tokio::test]
async fn text_of_any_length_with_any_character_comes_back() {
    let server = Postgres::fresh();
    let store = holder(&server.url(), "the edge").await;
    let odd = format!("nul \0 and ␀0 {}", "long ".repeat(4000));
    let mut written = keyed(&odd, "key");
    written = Draft { path: format!("/{odd}"), client_session: Some(odd.clone()), ..written };
    let seq = append(&store, vec![written.clone()]).await[0];
    let lookup = Lookup::ClientKey { tenant: odd.clone(), key: "key".to_owned() };
    let row = store.transaction(&lookup).await.unwrap().unwrap();
    assert_eq!((row.path, row.client_key), (written.path, written.client_key));
    let scope = Scope::new(&odd, &odd);
    let failed = Fact::Retried { seq, reason: odd.clone(), next_retry_at: None };
    let facts = vec![
        Fact::Catalog(CatalogChange::TenantCreated { tenant: odd.clone() }),
        Fact::Catalog(CatalogChange::DatabaseCreated { scope: scope.clone(), database_id: uuid::Uuid::nil() }),
        created(new_collection(), &odd, seq),
        failed,
        status(seq, Status::Failed),
    ];
    record(&store, facts.clone()).await;
    record(&store, facts).await;
    let snapshot = load(&store).await;
    assert!(snapshot.tenants.contains(&odd) && snapshot.tenants.len() == 2);
    assert!(snapshot.databases.iter().any(|(found, _)| *found == scope) && snapshot.databases.len() == 2);
    assert_eq!(snapshot.collections[0].name, odd);
    let row = store.transaction(&lookup).await.unwrap().unwrap();
    assert_eq!(row.failure_reason, Some(odd));
}

#[tokio::test]
async fn no_statement_of_a_commit_does_anything_alone() {
    let server = Postgres::fresh();
    let store = holder(&server.url(), "the edge").await;
    append(&store, vec![draft(LaneId::Catalog, "x")]).await;
    let mut writer = store.parts.writer.lock().await;
    let alone = writer.alone("UPDATE chroma_edge.journal SET commits = commits + 1").await;
    assert!(alone.is_err_and(|text| text.contains("25006")), "a statement outside its transaction is read-only");
}

/// A dead machine does not even refuse connections: each wait for it uses up a commit's time.
#[tokio::test]
async fn what_one_pool_has_found_of_the_hosts_the_others_know() {
    let server = Postgres::fresh();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let both = format!("127.0.0.1:{},127.0.0.1:{}", silent.local_addr().unwrap().port(), server.port());
    let url = server.url().replace(&format!("127.0.0.1:{}", server.port()), &both);
    assert!(url.contains(&both), "{url}");
    let store = holder(&url, "the edge").await;
    let mut asked = Vec::new();
    while let Ok(Ok((connection, _))) = tokio::time::timeout(Duration::from_millis(50), silent.accept()).await {
        asked.push(connection);
    }
    assert_eq!(asked.len(), 1, "the first in the list is asked by the first pool alone: the schema's");
    append(&store, vec![draft(LaneId::Catalog, "x")]).await;
    load(&store).await;
    let again = tokio::time::timeout(Duration::from_millis(50), silent.accept()).await;
    assert!(again.is_err(), "asked again: {again:?}");
}
