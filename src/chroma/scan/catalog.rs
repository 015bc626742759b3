//! The bodies of the catalog's writes: create and update a collection, create a tenant or a database.

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

use super::metadata::{Holds, Metadata, Owner};
use super::refusal::Refusal;
use super::visit::{Looking, is_array};

/// What a scan made of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned<T> {
    Read(T),
    /// Chroma refuses it, without a trace: let it answer.
    Malformed,
}

/// What the creation of a collection asks for.
#[derive(Clone, Debug)]
pub struct CreateScan {
    pub name: String,
    pub existing: Existing,
    pub hnsw: HnswMetadata,
    /// As written; `None` when absent or null.
    pub metadata: Option<Box<RawValue>>,
}

/// What is asked for when the name is taken (`get_or_create`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Existing {
    Conflict,
    Reuse,
}

/// Whether metadata has legacy `hnsw:*` keys, which configure the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HnswMetadata {
    Legacy,
    None,
}

/// What the change of a collection asks for.
#[derive(Clone, Debug)]
pub struct UpdateScan {
    pub new_name: Option<String>,
    /// As written; `None` when absent or null.
    pub new_metadata: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Create {
    name: String,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    get_or_create: bool,
}

#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    new_name: Option<String>,
    #[serde(default)]
    new_metadata: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Scans the body of `POST collections`.
pub fn scan_create_collection(body: &[u8]) -> Result<Scanned<CreateScan>, Refusal> {
    let Some(create) = read::<Create>(body, "CreateCollectionPayload")? else { return Ok(Scanned::Malformed) };
    let Some(hnsw) = check_metadata(create.metadata.as_deref())? else { return Ok(Scanned::Malformed) };
    let existing = if create.get_or_create { Existing::Reuse } else { Existing::Conflict };
    Ok(Scanned::Read(CreateScan { name: create.name, existing, hnsw, metadata: create.metadata }))
}

/// Scans the body of `PUT collections/{id}`.
pub fn scan_update_collection(body: &[u8]) -> Result<Scanned<UpdateScan>, Refusal> {
    let Some(update) = read::<Update>(body, "UpdateCollectionPayload")? else { return Ok(Scanned::Malformed) };
    if check_metadata(update.new_metadata.as_deref())?.is_none() {
        return Ok(Scanned::Malformed);
    }
    Ok(Scanned::Read(UpdateScan { new_name: update.new_name, new_metadata: update.new_metadata }))
}

/// The name in the body of `POST tenants`.
pub fn scan_create_tenant(body: &[u8]) -> Result<Scanned<String>, Refusal> {
    scan_name(body, "CreateTenantPayload")
}

/// The name in the body of `POST databases`.
pub fn scan_create_database(body: &[u8]) -> Result<Scanned<String>, Refusal> {
    scan_name(body, "CreateDatabasePayload")
}

fn scan_name(body: &[u8], payload: &'static str) -> Result<Scanned<String>, Refusal> {
    Ok(match read::<Named>(body, payload)? {
        Some(named) => Scanned::Read(named.name),
        None => Scanned::Malformed,
    })
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8], payload: &'static str) -> Result<Option<T>, Refusal> {
    if is_array(body) {
        return Err(Refusal::ArrayBody { payload });
    }
    Ok(serde_json::from_slice(body).ok())
}

/// `None`: Chroma refuses it.
fn check_metadata(metadata: Option<&RawValue>) -> Result<Option<HnswMetadata>, Refusal> {
    let Some(metadata) = metadata else { return Ok(Some(HnswMetadata::None)) };
    let mut refusal = None;
    let look = Looking(Metadata { owner: Owner::Collection, refusal: &mut refusal });
    let holds = serde_json::Deserializer::from_str(metadata.get()).deserialize_any(look);
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    Ok(match holds {
        Ok(Holds::Object { legacy_hnsw: true }) => Some(HnswMetadata::Legacy),
        Ok(Holds::Object { legacy_hnsw: false } | Holds::Null) => Some(HnswMetadata::None),
        Ok(Holds::Wrong) | Err(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(body: &str) -> Result<Option<CreateScan>, Refusal> {
        scan_create_collection(body.as_bytes()).map(|scanned| match scanned {
            Scanned::Read(scan) => Some(scan),
            Scanned::Malformed => None,
        })
    }

    #[test]
    fn creations() {
        let scan = created(r#"{"name":"n","metadata":{"hnsw:space":"l2","f":1.0},"get_or_create":true,"schema":{}}"#);
        let scan = scan.unwrap().unwrap();
        assert_eq!((scan.name.as_str(), scan.existing, scan.hnsw), ("n", Existing::Reuse, HnswMetadata::Legacy));
        assert_eq!(scan.metadata.unwrap().get(), r#"{"hnsw:space":"l2","f":1.0}"#);
        let scan = created(r#"{"name":"n","metadata":null,"foo":1,"foo":2}"#).unwrap().unwrap();
        assert_eq!((scan.existing, scan.hnsw), (Existing::Conflict, HnswMetadata::None));
        assert!(scan.metadata.is_none());
    }

    #[test]
    fn what_chroma_refuses_is_left_to_it() {
        for body in [
            "",
            "{}",
            "null",
            r#"{"name":null}"#,
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a"} x"#,
            r#"{"name":"a""#,
            r#"{"name":"a","get_or_create":null}"#,
            r#"{"name":"a","get_or_create":1}"#,
            r#"{"name":"a","metadata":[]}"#,
            r#"{"name":"a","metadata":5}"#,
            r#"{"name":"a","metadata":{"k":1e999}}"#,
        ] {
            assert!(created(body).unwrap().is_none(), "{body}");
        }
    }

    #[test]
    fn metadata_that_makes_the_handler_panic_is_refused() {
        for value in ["[1]", "[]", "[1,2.5]", r#"{"indices":[1],"values":[1]}"#, "{}", "[[1]]"] {
            let expected = Refusal::CollectionMetadataValue { key: "k".into() };
            let body = format!(r#"{{"name":"n","metadata":{{"k":{value},"k":1}}}}"#);
            assert_eq!(created(&body).map(|_| ()), Err(expected.clone()), "{body}");
            let body = format!(r#"{{"new_metadata":{{"k":{value}}}}}"#);
            assert_eq!(scan_update_collection(body.as_bytes()).map(|_| ()), Err(expected), "{body}");
        }
        let reserved = Refusal::ReservedKey { key: "chroma:x".into() };
        assert_eq!(created(r#"{"name":"n","metadata":{"\u0063hroma:x":1}}"#).map(|_| ()), Err(reserved.clone()));
        assert_eq!(scan_update_collection(br#"{"new_metadata":{"chroma:x":null}}"#).map(|_| ()), Err(reserved));
    }

    #[test]
    fn updates() {
        let Ok(Scanned::Read(scan)) = scan_update_collection(br#"{"new_name":"x","new_metadata":{"k":null}}"#) else {
            panic!()
        };
        assert_eq!(scan.new_name.as_deref(), Some("x"));
        assert_eq!(scan.new_metadata.unwrap().get(), r#"{"k":null}"#);
        assert!(matches!(scan_update_collection(b"{}"), Ok(Scanned::Read(_))));
        assert!(matches!(scan_update_collection(br#"{"new_name":1}"#), Ok(Scanned::Malformed)));
        assert!(matches!(scan_update_collection(b"[null,null,null]"), Err(Refusal::ArrayBody { .. })));
    }

    #[test]
    fn names() {
        assert_eq!(scan_create_tenant(br#"{"name":"t","x":1}"#), Ok(Scanned::Read("t".into())));
        assert_eq!(scan_create_database(br#"{"name":1}"#), Ok(Scanned::Malformed));
        assert_eq!(scan_create_database(br#"["d"]"#), Err(Refusal::ArrayBody { payload: "CreateDatabasePayload" }));
    }
}
