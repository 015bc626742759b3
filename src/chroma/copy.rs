//! The definition of a collection: how to copy it to another instance, and what to compare afterwards.
//!
//! The source is the answer of the instance that created the collection. If both servers have a `schema`, the copy gets
//! name, metadata and schema, never the configuration: Chroma refuses the two together unless the configuration is the
//! default. A PUT adds what a create cannot set: legacy `hnsw:*` metadata, which Chroma refuses beside a schema; and
//! the embedding function and the thread count, which Chroma 1.5.9 replaces with its own when the schema is otherwise
//! the default one (as the stock Python client's is). If one of the servers has no schema, the configuration alone
//! defines the copy, and a PUT again adds legacy metadata.
//!
//! The edge trusts no copy to be exact before it has read it back and compared it (`difference.rs`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::scan::{HnswMetadata, Scanned, scan_create_collection};

/// The part of a definition from which a server makes exact copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CopiedBy {
    Schema,
    Configuration,
}

/// The requests that copy a definition. Both must be executed; both may be executed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlan {
    /// The body of `POST collections`.
    pub create_body: Vec<u8>,
    /// The body of `PUT collections/{id}` that completes the definition. May be omitted if the copy already has the
    /// [`same_definition`].
    pub then_put: Option<Vec<u8>>,
    /// The part that these requests copy from.
    pub by: CopiedBy,
}

#[derive(Deserialize)]
struct Definition<'a> {
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
    #[serde(borrow, default)]
    configuration_json: Option<BTreeMap<&'a str, &'a RawValue>>,
}

#[derive(Serialize)]
struct Create<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<&'a BTreeMap<&'a str, &'a RawValue>>,
}

#[derive(Serialize)]
struct Put<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    new_metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_configuration: Option<NewConfiguration<'a>>,
}

#[derive(Serialize)]
struct NewConfiguration<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_function: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hnsw: Option<NewHnsw>,
}

#[derive(Serialize)]
struct NewHnsw {
    num_threads: u64,
}

/// Returns how to copy the definition in `answer` (a Collection object), under the name it had at creation, to a server
/// that copies in this way. Returns `None` if `answer` is no Collection object, or contains metadata that must not be
/// sent.
pub fn copy_requests(answer: &[u8], name: &str, target: CopiedBy) -> Option<CopyPlan> {
    let definition: Definition<'_> = serde_json::from_slice(answer).ok()?;
    let legacy = match definition.metadata {
        Some(_) => legacy_metadata(answer)?,
        None => HnswMetadata::None,
    };
    let (metadata, new_metadata) = match legacy {
        HnswMetadata::Legacy => (None, definition.metadata),
        HnswMetadata::None => (definition.metadata, None),
    };
    let mut configuration = definition.configuration_json.unwrap_or_default();
    configuration.retain(|_, part| part.get() != "null");
    let (create, new_configuration, by) = match (definition.schema, target) {
        (Some(schema), CopiedBy::Schema) => {
            let create = Create { name, metadata, schema: Some(schema), configuration: None };
            let embedding_function = configuration.get("embedding_function").copied();
            let hnsw = threads(schema).map(|num_threads| NewHnsw { num_threads });
            let more = embedding_function.is_some() || hnsw.is_some();
            (create, more.then_some(NewConfiguration { embedding_function, hnsw }), CopiedBy::Schema)
        }
        // Without a schema and a configuration it is no Collection object.
        _ if configuration.is_empty() => return None,
        _ => {
            let create = Create { name, metadata, schema: None, configuration: Some(&configuration) };
            (create, None, CopiedBy::Configuration)
        }
    };
    let then_put = match (Put { new_metadata, new_configuration }) {
        Put { new_metadata: None, new_configuration: None } => None,
        put => Some(serde_json::to_vec(&put).ok()?),
    };
    Some(CopyPlan { create_body: serde_json::to_vec(&create).ok()?, then_put, by })
}

/// Returns whether two Collection objects from two instances have the same schema, configuration and metadata, compared
/// as values. Each instance's own ids are ignored. Objects that cannot be read are not the same.
pub fn same_definition(one: &[u8], other: &[u8]) -> bool {
    let parts = |answer: &[u8]| {
        let mut value: Value = serde_json::from_slice(answer).ok()?;
        value.get("configuration_json")?;
        Some(["schema", "configuration_json", "metadata"].map(|part| value[part].take()))
    };
    match (parts(one), parts(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

fn threads(schema: &RawValue) -> Option<u64> {
    let schema: Value = serde_json::from_str(schema.get()).ok()?;
    schema.pointer("/keys/#embedding/float_list/vector_index/config/hnsw/num_threads")?.as_u64()
}

/// An answer has name and metadata in the same places as a create.
fn legacy_metadata(answer: &[u8]) -> Option<HnswMetadata> {
    match scan_create_collection(answer) {
        Ok(Scanned::Read(scan)) => Some(scan.hnsw),
        Ok(Scanned::Malformed(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(metadata: &str, embedding_function: &str) -> (String, Option<String>) {
        let answer = format!(
            r#"{{"id":"x","name":"now","configuration_json":{{"hnsw":{{}},"embedding_function":{embedding_function}}},"schema":{{"a":1.20}},"metadata":{metadata},"dimension":null}}"#
        );
        let plan = copy_requests(answer.as_bytes(), "th\"en", CopiedBy::Schema).unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(plan.create_body), plan.then_put.map(text))
    }

    #[test]
    fn a_plain_definition_is_one_request() {
        let create = r#"{"name":"th\"en","schema":{"a":1.20}}"#;
        assert_eq!(plan("null", "null"), (create.into(), None));
        let create = r#"{"name":"th\"en","metadata":{"n":9007199254740993,"f":1.0},"schema":{"a":1.20}}"#;
        assert_eq!(plan(r#"{"n":9007199254740993,"f":1.0}"#, "null"), (create.into(), None));
    }

    #[test]
    fn legacy_metadata_and_embedding_functions_follow_in_a_put() {
        let create = r#"{"name":"th\"en","schema":{"a":1.20}}"#;
        let put = r#"{"new_metadata":{"hnsw:space":"l2","f":1.0}}"#;
        assert_eq!(plan(r#"{"hnsw:space":"l2","f":1.0}"#, "null"), (create.into(), Some(put.into())));
        let put = r#"{"new_configuration":{"embedding_function":{"type":"known","config":{"x":1.10}}}}"#;
        assert_eq!(plan("null", r#"{"type":"known","config":{"x":1.10}}"#), (create.into(), Some(put.into())));
        let put = r#"{"new_metadata":{"hnsw:M":5},"new_configuration":{"embedding_function":{"type":"legacy"}}}"#;
        assert_eq!(plan(r#"{"hnsw:M":5}"#, r#"{"type":"legacy"}"#), (create.into(), Some(put.into())));
    }

    #[test]
    fn the_thread_count_follows_in_the_put() {
        let schema =
            r##"{"keys":{"#embedding":{"float_list":{"vector_index":{"config":{"hnsw":{"num_threads":3}}}}}}}"##;
        let answer = format!(r#"{{"name":"now","schema":{schema},"metadata":null}}"#);
        let plan = copy_requests(answer.as_bytes(), "then", CopiedBy::Schema).unwrap();
        assert_eq!(plan.then_put.unwrap(), br#"{"new_configuration":{"hnsw":{"num_threads":3}}}"#);
    }

    #[test]
    fn definitions_are_compared_as_values() {
        let one = br#"{"id":"1","schema":{"a":1,"b":2},"metadata":{"f":1.0},"configuration_json":{}}"#;
        assert!(same_definition(
            one,
            br#"{"id":"2", "configuration_json":{},"metadata":{"f":1.00},"schema":{"b":2,"a":1}}"#
        ));
        for other in [
            &br#"{"schema":{"a":1,"b":2},"metadata":{"f":1},"configuration_json":{}}"#[..],
            br#"{"schema":{"a":1,"b":3},"metadata":{"f":1.0},"configuration_json":{}}"#,
            br#"{"schema":{"a":1,"b":2},"metadata":{"f":1.0},"configuration_json":{"x":1}}"#,
            b"[]",
            b"",
        ] {
            assert!(!same_definition(one, other), "{}", String::from_utf8_lossy(other));
        }
        assert!(!same_definition(b"{}", b"{}"));
    }

    #[test]
    fn what_is_no_collection_is_not_copied() {
        for answer in ["", "{}", "[]", r#"{"error":"x","message":"y"}"#, r#"{"name":"n","metadata":5,"schema":{}}"#] {
            for target in [CopiedBy::Schema, CopiedBy::Configuration] {
                assert_eq!(copy_requests(answer.as_bytes(), "n", target), None, "{answer}");
            }
        }
    }

    #[test]
    fn without_a_schema_the_configuration_is_copied() {
        let configuration = r#"{"hnsw":{"space":"cosine"},"spann":null,"embedding_function":{"type":"legacy"}}"#;
        let answer = |metadata: &str, schema: &str| {
            format!(r#"{{"name":"now","configuration_json":{configuration},"schema":{schema},"metadata":{metadata}}}"#)
        };
        let plan = |metadata: &str, schema: &str, target| {
            let plan = copy_requests(answer(metadata, schema).as_bytes(), "then", target).unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (text(plan.create_body), plan.then_put.map(text), plan.by)
        };
        let create = r#"{"name":"then","metadata":{"a":1},"configuration":{"embedding_function":{"type":"legacy"},"hnsw":{"space":"cosine"}}}"#;
        // The source has no schema, or the target accepts none.
        for (schema, target) in [("null", CopiedBy::Schema), ("{}", CopiedBy::Configuration)] {
            let expected = (create.to_owned(), None, CopiedBy::Configuration);
            assert_eq!(plan(r#"{"a":1}"#, schema, target), expected, "{schema} {target:?}");
        }
        let legacy = plan(r#"{"hnsw:M":5}"#, "null", CopiedBy::Configuration);
        assert_eq!(legacy.0, create.replace(r#""metadata":{"a":1},"#, ""));
        assert_eq!(legacy.1.unwrap(), r#"{"new_metadata":{"hnsw:M":5}}"#);
    }
}
