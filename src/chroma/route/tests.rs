//! The table, compared with the answers of a real server.

use super::*;
use crate::ids::Scope;
use crate::order::Kind;

const T: &str = "/api/v2/tenants/acme/databases/main";

fn scope() -> Scope {
    Scope::new("acme", "main")
}

fn answer(method: &str, path: &str) -> (u16, Option<&'static str>, String) {
    let answer = match route(method, path) {
        Operation::Unsupported(unsupported) => unsupported.answer(),
        Operation::UnknownWrite(unknown) => unknown.answer(),
        other => panic!("{method} {path} is forwarded: {other:?}"),
    };
    (answer.status, answer.allow, String::from_utf8(answer.body.to_vec()).unwrap())
}

#[test]
fn system_paths_pass_through() {
    for path in [
        "/api/v2",
        "/api/v2/heartbeat",
        "/api/v2/healthcheck",
        "/api/v2/version",
        "/api/v2/pre-flight-checks",
        "/api/v2/auth/identity",
        "/openapi.json",
        "/docs",
        "/docs/",
        "/docs/x",
        "/",
        "/api/v1/collections",
        "/api/v2/later",
        "/api/v2/later?x=%2e%2e/",
        "/api/v2/heartbeat/",
        "/api/v2/reset",
        "/API/v2/tenants/x",
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert_eq!(route(method, path), Operation::System, "{method} {path}");
        }
    }
}

/// No client of Chroma sends these. They reach no server, not even as reads.
#[test]
fn odd_targets_are_paths_of_nobody() {
    let below = |segment: &str| format!("/api/v2/tenants/{segment}/databases");
    for path in [
        "",
        "*",
        "127.0.0.1:22",
        "http://127.0.0.1/api/v2/later",
        "//evil.example/api/v2/heartbeat",
        "/api//v2/heartbeat",
        "/api%2Fv2%2Fheartbeat",
        "/api/v2/%68eartbeat",
        "/api/v2/later%00",
        "/api/v2/later%0d%0ahost:%20evil.example",
        "/api\\v2\\heartbeat",
        "/api/v2/later;a=b",
        "/docs/../api/v2/reset",
        "/docs/%2e%2E/api/v2/reset",
        "/docs/x%2f..%2f..%2fapi/v2/reset",
        "/api/v2/./heartbeat",
        &below("."),
        &below(".."),
        &below("%2e"),
        &below(".%2E"),
        "/api/v2/tenants/acme/databases/main/collections/..",
        "/api/v2/later\u{e9}",
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let expected = Operation::UnknownWrite(UnknownWrite::Path);
            assert_eq!(route(method, path), expected, "{method} {path}");
        }
        for method in ["POST", "DELETE", "CONNECT"] {
            assert!(matches!(route(method, path), Operation::UnknownWrite(_)), "{method} {path}");
        }
    }
    // Names, if unusual ones.
    for segment in ["...", ".a", "a.", "..%20", "%2e%2e%2e", "a%2Fb", "%5C", "a%00b", ".git", ""] {
        assert!(matches!(route("GET", &below(segment)), Operation::CatalogRead(_)), "{segment}");
    }
}

#[test]
fn record_operations() {
    let c = format!("{T}/collections/x%20y");
    let collection = CollectionRef::new("x y");
    for (method, tail, kind) in [
        ("POST", "get", RecordReadKind::Get),
        ("POST", "query?limit=1", RecordReadKind::Query),
        ("POST", "search", RecordReadKind::Search),
        ("GET", "count?read_level=index_and_wal", RecordReadKind::Count),
        ("HEAD", "count", RecordReadKind::Count),
        ("GET", "indexing_status", RecordReadKind::IndexingStatus),
        ("GET", "fork_count", RecordReadKind::ForkCount),
        ("GET", "functions/f", RecordReadKind::Function),
    ] {
        let expected = Operation::RecordRead { collection: collection.clone(), scope: scope(), kind };
        assert_eq!(route(method, &format!("{c}/{tail}")), expected, "{method} {tail}");
    }
    for (tail, kind) in
        [("add", Kind::Add), ("update", Kind::Update), ("upsert", Kind::Upsert), ("delete?x", Kind::Delete)]
    {
        let expected = Operation::RecordWrite { collection: collection.clone(), scope: scope(), kind };
        assert_eq!(route("POST", &format!("{c}/{tail}")), expected, "{tail}");
    }
}

#[test]
fn catalog_reads() {
    let any = Page::Window(Window::default());
    for (path, expected) in [
        ("/api/v2/tenants/a%2Fb", CatalogRead::GetTenant { tenant: "a/b".into() }),
        ("/api/v2/tenants//databases", CatalogRead::ListDatabases { tenant: String::new(), page: any }),
        (T, CatalogRead::GetDatabase { scope: scope() }),
        (
            "/api/v2/tenants/acme/databases/main/collections?limit=x",
            CatalogRead::ListCollections { scope: scope(), page: Page::Malformed },
        ),
        ("/api/v2/tenants/acme/databases/main/collections_count", CatalogRead::CountCollections { scope: scope() }),
        (
            "/api/v2/tenants/acme/databases/main/collections/by-id",
            CatalogRead::GetCollection { scope: scope(), name: "by-id".into() },
        ),
        (
            "/api/v2/tenants/acme/databases/main/collections/%zz",
            CatalogRead::GetCollection { scope: scope(), name: "%zz".into() },
        ),
        (
            "/api/v2/tenants/acme/databases/main/collections/by-id/count",
            CatalogRead::GetCollectionById { scope: scope(), collection: CollectionRef::new("count") },
        ),
    ] {
        for method in ["GET", "HEAD"] {
            assert_eq!(route(method, path), Operation::CatalogRead(expected.clone()), "{method} {path}");
        }
    }
}

#[test]
fn catalog_writes() {
    let c = CollectionRef::new("c");
    for (method, path, expected) in [
        ("POST", "/api/v2/reset".to_owned(), CatalogWrite::Reset),
        ("POST", "/api/v2/tenants".into(), CatalogWrite::CreateTenant),
        ("PATCH", "/api/v2/tenants/acme".into(), CatalogWrite::UpdateTenant { tenant: "acme".into() }),
        ("POST", "/api/v2/tenants/acme/databases".into(), CatalogWrite::CreateDatabase { tenant: "acme".into() }),
        ("DELETE", T.into(), CatalogWrite::DeleteDatabase { scope: scope() }),
        ("POST", format!("{T}/collections#f"), CatalogWrite::CreateCollection { scope: scope() }),
        ("PUT", format!("{T}/collections/c"), CatalogWrite::UpdateCollection { scope: scope(), collection: c }),
        ("DELETE", format!("{T}/collections/c"), CatalogWrite::DeleteCollection { scope: scope(), name: "c".into() }),
    ] {
        assert_eq!(route(method, &path), Operation::CatalogWrite(expected), "{method} {path}");
    }
}

#[test]
fn unknown_writes_get_chromas_answer_and_are_never_forwarded() {
    let c = format!("{T}/collections/c");
    let gone = r#"{"error":"Unimplemented","message":"The v1 API is deprecated. Please use /v2 apis"}"#;
    for (method, path, status, allow) in [
        ("POST", "/api/v2/later".to_owned(), 404, None),
        ("PUT", "/".into(), 404, None),
        ("BREW", "/x".into(), 404, None),
        ("POST", "/api/v1".into(), 404, None),
        ("POST", "/api/v1/".into(), 404, None),
        ("POST", format!("{c}/add/"), 404, None),
        ("POST", format!("{c}//add"), 404, None),
        ("POST", "//api/v2/tenants".into(), 404, None),
        ("POST", format!("{c}/%61dd"), 404, None),
        ("POST", format!("{T}/collections/by-id/"), 404, None),
        ("POST", format!("{c}/functions/"), 404, None),
        ("POST", format!("{c}/a/b/c/d/e/f/g/h"), 404, None),
        ("POST", format!("{T}/collections/by-id/add"), 405, Some("GET,HEAD")),
        ("POST", "/api/v2/heartbeat".into(), 405, Some("GET,HEAD")),
        ("DELETE", "/docs/x".into(), 405, Some("GET,HEAD")),
        ("DELETE", "/api/v2/tenants/acme".into(), 405, Some("GET,HEAD,PATCH")),
        ("DELETE", "/api/v2/tenants".into(), 405, Some("POST")),
        ("DELETE", "/api/v2/tenants/a/databases".into(), 405, Some("GET,HEAD,POST")),
        ("PUT", T.into(), 405, Some("GET,HEAD,DELETE")),
        ("DELETE", format!("{T}/collections"), 405, Some("POST,GET,HEAD")),
        ("DELETE", format!("{T}/collections_count"), 405, Some("GET,HEAD")),
        ("PATCH", c.clone(), 405, Some("GET,HEAD,PUT,DELETE")),
        ("DELETE", format!("{c}/add"), 405, Some("POST")),
        ("post", format!("{c}/add"), 405, Some("POST")),
        ("PUT", format!("{c}/get"), 405, Some("POST")),
        ("POST", format!("{c}/count"), 405, Some("GET,HEAD")),
        ("DELETE", format!("{c}/functions/x"), 405, Some("GET,HEAD")),
        ("PUT", format!("{c}/fork"), 405, Some("POST")),
        ("POST", "/api/v2/collections/a:b:c".into(), 405, Some("GET,HEAD")),
        ("POST", "/api/v1/collections".into(), 405, Some("GET,HEAD,PUT,PATCH,DELETE,OPTIONS")),
        ("PUT", format!("{c}%fd/add"), 405, Some("POST")),
    ] {
        assert_eq!(answer(method, &path), (status, allow, String::new()), "{method} {path}");
    }
    for method in ["PUT", "PATCH", "DELETE"] {
        assert_eq!(answer(method, "/api/v1/x"), (410, None, gone.to_owned()));
    }
}

#[test]
fn parameters_that_are_not_utf8() {
    for (method, path, parameter) in [
        ("POST", format!("{T}/collections/%ff/add"), "collection_id"),
        ("PUT", format!("{T}/collections/%ff"), "collection_id"),
        ("DELETE", format!("{T}/collections/%ff"), "collection_id"),
        ("PATCH", "/api/v2/tenants/%ff".into(), "tenant_name"),
        ("POST", "/api/v2/tenants/%ff/databases/%fe/collections/%fd/add".into(), "tenant"),
    ] {
        let body =
            format!(r#"{{"error":"InvalidArgumentError","message":"Invalid URL: Invalid UTF-8 in `{parameter}`"}}"#);
        assert_eq!(answer(method, &path), (400, None, body), "{method} {path}");
    }
    let unknown = UnknownWrite::NotUtf8 { parameter: "collection_id" };
    assert_eq!(
        route("GET", &format!("{T}/collections/%ff")),
        Operation::UnknownWrite(unknown),
        "a read is none either"
    );
}

#[test]
fn unsupported_operations_get_chromas_501() {
    let c = format!("{T}/collections/c");
    for (method, path, text) in [
        ("POST", format!("{c}/fork"), "Collection forking is unsupported for local chroma"),
        (
            "POST",
            format!("{c}/functions/attach"),
            r#"Tonic error: code: 'Operation is not implemented or not supported', message: \" Attached Function operations not yet implemented in SqliteSysDb\""#,
        ),
        (
            "POST",
            format!("{c}/attached_functions/f/detach"),
            r#"Tonic error: code: 'Operation is not implemented or not supported', message: \"Not implemented\""#,
        ),
        ("GET", "/api/v2/collections/a:b:c".into(), "Getting a collection by its crn is unsupported for local chroma"),
    ] {
        let body = format!(r#"{{"error":"ChromaError","message":"{text}"}}"#);
        assert_eq!(answer(method, &path), (501, None, body), "{method} {path}");
    }
}
