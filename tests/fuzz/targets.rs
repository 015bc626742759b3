//! What is parsed, and what must be true of the result.

use std::time::Duration;

use chroma_edge::auth::{ClaimNames, Gate, Issuer, Keys, Locality, Need, Rules, page_need};
use chroma_edge::chroma::{
    self, Call, CatalogRead, Operation, RecordReadKind, Scanned, Window, classify, instance_path, merge, route,
    scan_records,
};
use chroma_edge::clock::Timestamp;
use chroma_edge::config;
use chroma_edge::ids::{CollectionId, InstanceCollectionId};
use chroma_edge::order::Kind;
use http::{HeaderMap, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

use crate::corpus::{ANSWERS, CATALOG, CONFIGURATIONS, CREDENTIALS, PATHS, RECORDS};
use crate::draw::Draw;

/// A parser under test.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&mut dyn Draw),
}

pub const TARGETS: &[Target] = &[
    Target { name: "paths", run: paths },
    Target { name: "bodies of records", run: records },
    Target { name: "merged bodies", run: merged },
    Target { name: "bodies of the catalog", run: catalog },
    Target { name: "answers", run: answers },
    Target { name: "configurations", run: configurations },
    Target { name: "credentials", run: credentials },
];

const METHODS: [&str; 8] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "get"];
const KINDS: [Kind; 4] = [Kind::Add, Kind::Update, Kind::Upsert, Kind::Delete];
const CALLS: [Call; 4] = [Call::Write(Kind::Add), Call::Write(Kind::Reset), Call::RecordRead, Call::CatalogRead];
const ID: Uuid = Uuid::from_u128(0x0190_a5d8_0000_7000_8000_0000_0000_0001);
const OTHER: Uuid = Uuid::from_u128(0x0190_a5d8_0000_7000_8000_0000_0000_00ff);

fn paths(drawn: &mut dyn Draw) {
    let (method, path) = (METHODS[drawn.index(METHODS.len())], drawn.text(PATHS));
    let operation = route(method, &path);
    let plain = path.split(['?', '#']).next().unwrap_or_default();
    let is_safe = matches!(method, "GET" | "HEAD" | "OPTIONS");
    match &operation {
        Operation::System => {
            assert!(is_safe, "{method} {path} is passed on");
            assert!(plain.starts_with('/') && !plain.contains(['%', '\\']) && !plain.contains("//"), "{path}");
            assert!(!plain.split('/').any(|segment| segment == ".." || segment == "."), "{path}");
        }
        Operation::CatalogRead(_) => assert!(is_safe, "{method} {path}"),
        Operation::RecordRead { kind, .. } => {
            let by_post = matches!(kind, RecordReadKind::Get | RecordReadKind::Query | RecordReadKind::Search);
            assert_eq!(by_post, !is_safe, "{method} {path}");
        }
        Operation::RecordWrite { .. } | Operation::CatalogWrite(_) => assert!(!is_safe, "{method} {path}"),
        Operation::Unsupported(unsupported) => assert!(unsupported.answer().status >= 400),
        Operation::UnknownWrite(unknown) => assert!(unknown.answer().status >= 400),
    }
    // A server parses the path with its own id as the same operation, in the same scope.
    let sent = instance_path(&operation, &path, InstanceCollectionId::new(OTHER));
    let taken = route(method, &sent);
    match (&operation, &taken) {
        (
            Operation::RecordWrite { scope, kind, .. },
            Operation::RecordWrite { scope: other, kind: same, collection },
        ) => {
            assert_eq!((scope, kind, collection.as_id()), (other, same, Some(OTHER)), "{path}: {sent}");
        }
        (Operation::RecordRead { scope, kind, .. }, Operation::RecordRead { scope: other, kind: same, collection }) => {
            assert_eq!((scope, kind, collection.as_id()), (other, same, Some(OTHER)), "{path}: {sent}");
        }
        (
            Operation::CatalogRead(CatalogRead::GetCollectionById { scope, .. }),
            Operation::CatalogRead(CatalogRead::GetCollectionById { scope: other, collection }),
        ) => assert_eq!((scope, collection.as_id()), (other, Some(OTHER)), "{path}: {sent}"),
        (
            Operation::CatalogWrite(chroma::CatalogWrite::UpdateCollection { scope, .. }),
            Operation::CatalogWrite(chroma::CatalogWrite::UpdateCollection { scope: other, collection }),
        ) => assert_eq!((scope, collection.as_id()), (other, Some(OTHER)), "{path}: {sent}"),
        (one, other) => assert_eq!(one, other, "{path}: {sent}"),
    }
    // A page that requires no role shows nothing that is stored.
    if let Some(Need::Nothing) = page_need(method, plain) {
        assert!(is_safe && !plain.starts_with("/admin") && !plain.starts_with("/api"), "{path}");
    }
}

fn records(drawn: &mut dyn Draw) {
    let (kind, body) = (KINDS[drawn.index(KINDS.len())], drawn.bytes(RECORDS));
    let _ = chroma::scan_read(&body);
    let _ = (chroma::deletes_by_condition(&body), chroma::ids_in(&body));
    let Ok(scan) = scan_records(kind, &body, Some("application/json"), None) else { return };
    // Values in fields that are not read may be out of range, or not UTF-8. The same holds for Chroma.
    let Ok(read) = serde_json::from_slice::<Value>(&body) else { return };
    assert!(read.is_object(), "{}", shown(&body));
    if let Some(mergeable) = scan.merge {
        let ids = read["ids"].as_array().expect("ids");
        assert_eq!(ids.len(), mergeable.docs as usize, "{}", shown(&body));
        assert!(ids.iter().all(Value::is_string), "{}", shown(&body));
        for column in ["embeddings", "documents", "metadatas", "uris"] {
            let length = read[column].as_array().map_or(ids.len(), Vec::len);
            assert_eq!(length, ids.len(), "{column}: {}", shown(&body));
        }
    }
}

fn merged(drawn: &mut dyn Draw) {
    let kind = KINDS[drawn.index(KINDS.len())];
    let bodies: Vec<Vec<u8>> = (0..1 + drawn.index(4)).map(|_| drawn.bytes(RECORDS)).collect();
    let all: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let scan = |body: &[u8]| scan_records(kind, body, None, None).ok().and_then(|scan| scan.merge);
    let found = merge(kind, &all);
    let Some(merges) = all.iter().map(|body| scan(body)).collect::<Option<Vec<_>>>() else { return };
    if merges.iter().any(|one| one.encoding != merges[0].encoding) {
        return;
    }
    // Fields that are not read, as above.
    let read = |body: &&[u8]| serde_json::from_slice::<Value>(body).ok();
    let Some(parts) = all.iter().map(read).collect::<Option<Vec<_>>>() else { return };
    let found =
        found.unwrap_or_else(|| panic!("these are not merged: {:?}", all.iter().map(|b| shown(b)).collect::<Vec<_>>()));
    let whole: Value = serde_json::from_slice(&found).unwrap_or_else(|error| panic!("{error}: {}", shown(&found)));
    let ids: Vec<Value> = parts.iter().flat_map(|part| part["ids"].as_array().expect("ids").clone()).collect();
    assert_eq!(whole["ids"], Value::Array(ids), "{}", shown(&found));
    let together = scan(&found).unwrap_or_else(|| panic!("it is not what it was made of: {}", shown(&found)));
    assert_eq!(together.docs, merges.iter().map(|one| one.docs).sum::<u32>());
}

fn catalog(drawn: &mut dyn Draw) {
    let body = drawn.bytes(CATALOG);
    let _ = (chroma::scan_create_tenant(&body), chroma::scan_create_database(&body));
    let _ = chroma::scan_update_collection(&body);
    if let Ok(Scanned::Read(create)) = chroma::scan_create_collection(&body) {
        // Fields that are not read, as above.
        let Ok(read) = serde_json::from_slice::<Value>(&body) else { return };
        assert_eq!(read["name"], Value::String(create.name), "{}", shown(&body));
    }
}

fn answers(drawn: &mut dyn Draw) {
    let status = u16::try_from(drawn.index(1000)).expect("a status");
    let call = CALLS[drawn.index(CALLS.len())];
    let body = drawn.bytes(ANSWERS);
    let _ = (classify(call, status, &body), chroma::signature(status, &body));
    let _ = (chroma::is_write_path_dead(&body), chroma::failed_while_reading(&body));
    let known = |id: InstanceCollectionId| (id.uuid() == ID).then(|| CollectionId::new(OTHER));
    // Fields that are not read, as above: they are passed on unchanged.
    let is_json = serde_json::from_slice::<Value>(&body).is_ok();
    let page = Window::default();
    for rewritten in [
        chroma::collection_response(&body, known),
        chroma::collection_list(&body, known, page),
        chroma::database_response(&body, |_| Some(OTHER)),
        chroma::database_list(&body, |_| Some(OTHER), page),
    ]
    .into_iter()
    .flatten()
    .filter(|_| is_json)
    {
        let read: Value = serde_json::from_slice(&rewritten).unwrap_or_else(|e| panic!("{e}: {}", shown(&rewritten)));
        let items = read.as_array().cloned().unwrap_or_else(|| vec![read.clone()]);
        assert!(items.iter().all(|item| item["id"] == OTHER.to_string()), "{}", shown(&rewritten));
    }
    let text = chroma::error_text(&body, InstanceCollectionId::new(ID), CollectionId::new(OTHER));
    assert!(text.len() == body.len() && !shown(&text).contains(&ID.to_string()), "{}", shown(&text));
    let _ = (chroma::shown_index(&body), chroma::read_marker(&body), chroma::same_definition(&body, &body));
    let _ = chroma::copy_requests(&body, "things", chroma::CopiedBy::Schema);
    let _ = chroma::definition_difference(&body, &body);
}

fn configurations(drawn: &mut dyn Draw) {
    let text = drawn.text(CONFIGURATIONS);
    match config::parse("edge.yaml", &text, &|_| None) {
        Ok(config) => assert!(!config.instances.is_empty(), "{text}"),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty(), "{text}"),
    }
}

fn credentials(drawn: &mut dyn Draw) {
    let keys = Keys::secret(b"0123456789abcdef0123456789abcdef").expect("a secret");
    let names = ["chroma_role", "chroma_tenants", "chroma_databases", "chroma_collections"].map(str::to_owned);
    let [role, tenants, databases, collections] = names;
    let claims = ClaimNames { role, tenants, databases, collections };
    let rules = Rules { issuer: None, audience: None, leeway: Duration::ZERO, claims };
    let issuer = Issuer::new(keys, rules, 8192);
    let gate = Gate::Asks { tokens: Vec::new().into(), issuer: Some(issuer.into()) };
    let mut headers = HeaderMap::new();
    for name in ["authorization", "x-chroma-token"] {
        if drawn.index(100) < 70
            && let Ok(value) = HeaderValue::from_bytes(&drawn.bytes(CREDENTIALS))
        {
            headers.append(name, value);
        }
    }
    let denied =
        gate.identify(&headers, Locality::Loopback, Timestamp::from_millis(0)).expect_err("nobody has a token");
    assert!(denied.status() == 401 && !denied.to_string().contains("hunter2"));
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(2000).collect()
}
