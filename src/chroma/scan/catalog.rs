//! The bodies of catalog writes: create and update a collection, create a tenant or a database.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::definition::{self, Level, note_neighbors, note_setting};
use super::metadata::{Findings, Holds, Metadata, Owner};
use super::refusal::Refusal;
use super::visit::{Key, Looking, is_array};
use crate::chroma::feature::Feature;
use crate::chroma::limit_table::Limit;
use crate::chroma::limits::Measured;
use crate::chroma::reserved::is_reserved;

/// The result of scanning a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scanned<T> {
    Read(T),
    /// Chroma refuses it as well, for this reason.
    Malformed(Refusal),
}

/// The contents of a request that creates a collection.
#[derive(Clone, Debug)]
pub struct CreateScan {
    pub name: String,
    pub existing: Existing,
    pub hnsw: HnswMetadata,
    /// As written; `None` when absent or null.
    pub metadata: Option<Box<RawValue>>,
    /// For the limits.
    pub measured: Measured,
}

/// What to do if the name is taken (`get_or_create`).
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

/// The contents of a request that changes a collection.
#[derive(Clone, Debug)]
pub struct UpdateScan {
    pub new_name: Option<String>,
    /// As written; `None` when absent or null.
    pub new_metadata: Option<Box<RawValue>>,
    /// For the limits.
    pub measured: Measured,
}

#[derive(Deserialize)]
struct Create {
    name: String,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    get_or_create: bool,
    #[serde(default)]
    configuration: Option<Box<RawValue>>,
    #[serde(default)]
    schema: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    new_name: Option<String>,
    #[serde(default)]
    new_metadata: Option<Box<RawValue>>,
    #[serde(default)]
    new_configuration: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Scans the body of `POST collections`.
pub fn scan_create_collection(body: &[u8]) -> Result<Scanned<CreateScan>, Refusal> {
    let create: Create = match read(body, "CreateCollectionPayload")? {
        Scanned::Read(create) => create,
        Scanned::Malformed(refusal) => return Ok(Scanned::Malformed(refusal)),
    };
    let mut measured = Measured::default();
    measured.note(Limit::NameBytes, create.name.len());
    if is_reserved(&create.name) {
        return Err(Refusal::ReservedName);
    }
    let hnsw = match check_metadata(create.metadata.as_deref(), &mut measured)? {
        Scanned::Read(hnsw) => hnsw,
        Scanned::Malformed(refusal) => return Ok(Scanned::Malformed(refusal)),
    };
    if create.schema.is_some() {
        measured.note_use(Feature::Schemas);
    }
    let definitions = [(Level::Configuration, &create.configuration), (Level::Schema, &create.schema)];
    for (level, definition) in definitions {
        if let Err(refusal) = definition::measure(level, definition.as_deref(), &mut measured) {
            return Ok(Scanned::Malformed(refusal));
        }
    }
    let existing = if create.get_or_create { Existing::Reuse } else { Existing::Conflict };
    Ok(Scanned::Read(CreateScan { name: create.name, existing, hnsw, metadata: create.metadata, measured }))
}

/// Scans the body of `PUT collections/{id}`.
pub fn scan_update_collection(body: &[u8]) -> Result<Scanned<UpdateScan>, Refusal> {
    let update: Update = match read(body, "UpdateCollectionPayload")? {
        Scanned::Read(update) => update,
        Scanned::Malformed(refusal) => return Ok(Scanned::Malformed(refusal)),
    };
    let mut measured = Measured::default();
    measured.note(Limit::NameBytes, update.new_name.as_ref().map_or(0, String::len));
    if update.new_name.as_deref().is_some_and(is_reserved) {
        return Err(Refusal::ReservedName);
    }
    if let Scanned::Malformed(refusal) = check_metadata(update.new_metadata.as_deref(), &mut measured)? {
        return Ok(Scanned::Malformed(refusal));
    }
    let definition = update.new_configuration.as_deref();
    if let Err(refusal) = definition::measure(Level::Configuration, definition, &mut measured) {
        return Ok(Scanned::Malformed(refusal));
    }
    Ok(Scanned::Read(UpdateScan { new_name: update.new_name, new_metadata: update.new_metadata, measured }))
}

/// Returns the name in the body of `POST tenants`.
pub fn scan_create_tenant(body: &[u8]) -> Result<Scanned<String>, Refusal> {
    scan_name(body, "CreateTenantPayload")
}

/// Returns the name in the body of `POST databases`.
pub fn scan_create_database(body: &[u8]) -> Result<Scanned<String>, Refusal> {
    scan_name(body, "CreateDatabasePayload")
}

fn scan_name(body: &[u8], payload: &'static str) -> Result<Scanned<String>, Refusal> {
    Ok(match read::<Named>(body, payload)? {
        Scanned::Read(named) => Scanned::Read(named.name),
        Scanned::Malformed(refusal) => Scanned::Malformed(refusal),
    })
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8], payload: &'static str) -> Result<Scanned<T>, Refusal> {
    if is_array(body) {
        return Err(Refusal::ArrayBody { payload });
    }
    Ok(match serde_json::from_slice(body) {
        Ok(read) => Scanned::Read(read),
        Err(error) => Scanned::Malformed(Refusal::unreadable(&error)),
    })
}

/// The index settings in metadata, with their names in a configuration.
const LEGACY: [(&str, &str); 7] = [
    ("hnsw:M", "max_neighbors"),
    ("hnsw:construction_ef", "ef_construction"),
    ("hnsw:search_ef", "ef_search"),
    ("hnsw:num_threads", "num_threads"),
    ("hnsw:batch_size", "batch_size"),
    ("hnsw:sync_threshold", "sync_threshold"),
    ("hnsw:resize_factor", "resize_factor"),
];

/// Notes the index settings in metadata: `hnsw:M` configures an index like `max_neighbors`, and so do the others. If a
/// key is repeated, every value counts.
pub(super) fn note_legacy_index(metadata: &RawValue, measured: &mut Measured) {
    struct Neighbors<'a>(&'a mut Measured);
    impl<'de> Visitor<'de> for Neighbors<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("metadata")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some((Key(key), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                if let Some((_, name)) = LEGACY.iter().find(|(legacy, _)| *legacy == key) {
                    note_setting(name, value, self.0);
                }
                if key == "hnsw:M"
                    && let Ok(number) = serde_json::from_str(value.get())
                {
                    note_neighbors(&number, self.0);
                }
            }
            Ok(())
        }
    }
    // Anything but an object has no settings.
    let _ = serde_json::Deserializer::from_str(metadata.get()).deserialize_map(Neighbors(measured));
}

fn check_metadata(metadata: Option<&RawValue>, measured: &mut Measured) -> Result<Scanned<HnswMetadata>, Refusal> {
    let Some(metadata) = metadata else { return Ok(Scanned::Read(HnswMetadata::None)) };
    let mut findings = Findings { refusal: None, measured: *measured };
    let look = Looking(Metadata { owner: Owner::Collection, findings: &mut findings });
    let holds = serde_json::Deserializer::from_str(metadata.get()).deserialize_any(look);
    *measured = findings.measured;
    if let Some(refusal) = findings.refusal {
        return Err(refusal);
    }
    if matches!(holds, Ok(Holds::Object { legacy_hnsw: true })) {
        note_legacy_index(metadata, measured);
    }
    Ok(match holds {
        Ok(Holds::Object { legacy_hnsw: true }) => Scanned::Read(HnswMetadata::Legacy),
        Ok(Holds::Object { legacy_hnsw: false } | Holds::Null) => Scanned::Read(HnswMetadata::None),
        Ok(Holds::Wrong) => Scanned::Malformed(Refusal::WrongType { error: "metadata: expected a map".to_owned() }),
        Err(error) => Scanned::Malformed(Refusal::unreadable(&error)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created(body: &str) -> Result<Option<CreateScan>, Refusal> {
        scan_create_collection(body.as_bytes()).map(|scanned| match scanned {
            Scanned::Read(scan) => Some(scan),
            Scanned::Malformed(_) => None,
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
    fn what_not_every_server_has_is_noted() {
        for (body, used) in [
            (r#"{"name":"n","schema":{}}"#, true),
            (r#"{"name":"n","schema":null}"#, false),
            (r#"{"name":"n","configuration":{}}"#, false),
        ] {
            assert_eq!(created(body).unwrap().unwrap().measured.uses(Feature::Schemas), used, "{body}");
        }
    }

    #[test]
    fn what_chroma_refuses_is_refused() {
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
    fn an_index_that_kills_is_found_wherever_it_is_defined() {
        let limits = crate::chroma::RequestLimits::default();
        let neighbors = |value: &str| {
            let hnsw = format!(r#"{{"max_neighbors":{value}}}"#);
            let index = format!(r#"{{"enabled":true,"config":{{"space":"l2","hnsw":{hnsw}}}}}"#);
            let types = format!(r##"{{"#float_list":{{"$vector_index":{index}}}}}"##);
            [
                format!(r#"{{"name":"n","configuration":{{"other":1e400,"hnsw":{hnsw}}}}}"#),
                format!(r#"{{"name":"n","configuration":{{"hnsw":{{"max_neighbors":16}},"\u0068nsw":{hnsw}}}}}"#),
                format!(r#"{{"name":"n","schema":{{"defaults":{types},"keys":{{}}}}}}"#),
                format!(r##"{{"name":"n","schema":{{"defaults":{{}},"key_overrides":{{"#embedding":{types}}}}}}}"##),
                format!(r#"{{"name":"n","metadata":{{"hnsw:M":{value}}}}}"#),
            ]
        };
        let check = |body: &str| match created(body) {
            Ok(Some(scan)) => limits.check(&scan.measured).map_err(|refusal| refusal.reason()),
            other => panic!("{body}: {other:?}"),
        };
        for (value, expected) in [
            ("0", Err("index_no_neighbors")),
            ("-0", Ok(())),
            ("1", Ok(())),
            ("1024", Ok(())),
            ("1025", Err("limit_hnsw_max_neighbors")),
            ("18446744073709551615", Err("limit_hnsw_max_neighbors")),
            ("null", Ok(())),
        ] {
            for body in neighbors(value) {
                assert_eq!(check(&body), expected, "{body}");
            }
        }
        for body in [
            r#"{"name":"n","configuration":[["l2",100,100,0,null,null,null,null],null,null]}"#,
            r#"{"name":"n","configuration":{"hnsw":["l2",100,100,0,null,null,null,null]}}"#,
            r#"{"name":"n","schema":[{},{}]}"#,
        ] {
            assert_eq!(check(body), Err("index_positional"), "{body}");
        }
        for body in [
            r#"{"new_configuration":{"hnsw":{"max_neighbors":0}}}"#,
            r#"{"new_metadata":{"hnsw:M":0}}"#,
            r#"{"new_metadata":{"hnsw:M":16,"hnsw:M":0}}"#,
        ] {
            let Ok(Scanned::Read(scan)) = scan_update_collection(body.as_bytes()) else { panic!("{body}") };
            assert!(limits.check(&scan.measured).is_err(), "{body}");
        }
    }

    #[test]
    fn updates() {
        let Ok(Scanned::Read(scan)) = scan_update_collection(br#"{"new_name":"x","new_metadata":{"k":null}}"#) else {
            panic!()
        };
        assert_eq!(scan.new_name.as_deref(), Some("x"));
        assert_eq!(scan.new_metadata.unwrap().get(), r#"{"k":null}"#);
        assert!(matches!(scan_update_collection(b"{}"), Ok(Scanned::Read(_))));
        assert!(matches!(scan_update_collection(br#"{"new_name":1}"#), Ok(Scanned::Malformed(_))));
        assert!(matches!(scan_update_collection(b"[null,null,null]"), Err(Refusal::ArrayBody { .. })));
    }

    #[test]
    fn names() {
        assert_eq!(scan_create_tenant(br#"{"name":"t","x":1}"#), Ok(Scanned::Read("t".into())));
        assert!(matches!(scan_create_database(br#"{"name":1}"#), Ok(Scanned::Malformed(_))));
        assert_eq!(scan_create_database(br#"["d"]"#), Err(Refusal::ArrayBody { payload: "CreateDatabasePayload" }));
    }
}
