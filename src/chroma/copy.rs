//! The definition of a collection, copied to another instance.
//!
//! Built from the answer of the instance that created it: name, metadata and schema, never the configuration (schema
//! and configuration together are refused unless the configuration is the default). What a create cannot carry
//! follows in a PUT: legacy `hnsw:*` metadata, which Chroma refuses beside a schema; and the embedding function and
//! the thread count, which Chroma 1.5.9 replaces by its own when the schema is otherwise the default one (the
//! stock Python client's is). Create and PUT together give equal schema, configuration and metadata.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::scan::{HnswMetadata, Scanned, scan_create_collection};

/// The requests that copy a definition. Both must be executed; both may be executed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyPlan {
    /// The body of `POST collections`.
    pub create_body: Vec<u8>,
    /// The body of `PUT collections/{id}` that completes the definition. May be left out when the copy
    /// already has the [`same_definition`].
    pub then_put: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Definition<'a> {
    #[serde(borrow, default)]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    schema: &'a RawValue,
    #[serde(borrow, default)]
    configuration_json: Option<Configuration<'a>>,
}

#[derive(Deserialize)]
struct Configuration<'a> {
    #[serde(borrow, default)]
    embedding_function: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Create<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    schema: &'a RawValue,
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

/// How to copy the definition in `answer` (a Collection object) under the name it had at creation. `None` when
/// `answer` is no Collection object, or holds metadata that must not be sent.
pub fn copy_requests(answer: &[u8], name: &str) -> Option<CopyPlan> {
    let definition: Definition<'_> = serde_json::from_slice(answer).ok()?;
    let legacy = match definition.metadata {
        Some(_) => legacy_metadata(answer)?,
        None => HnswMetadata::None,
    };
    let (with_create, with_put) = match legacy {
        HnswMetadata::Legacy => (None, definition.metadata),
        HnswMetadata::None => (definition.metadata, None),
    };
    let create = Create { name, metadata: with_create, schema: definition.schema };
    let embedding_function = definition.configuration_json.and_then(|configuration| configuration.embedding_function);
    let hnsw = threads(definition.schema).map(|num_threads| NewHnsw { num_threads });
    let new_configuration = match (embedding_function, hnsw) {
        (None, None) => None,
        (embedding_function, hnsw) => Some(NewConfiguration { embedding_function, hnsw }),
    };
    let put = Put { new_metadata: with_put, new_configuration };
    let then_put = match put {
        Put { new_metadata: None, new_configuration: None } => None,
        put => Some(serde_json::to_vec(&put).ok()?),
    };
    Some(CopyPlan { create_body: serde_json::to_vec(&create).ok()?, then_put })
}

/// Whether two Collection objects, of two instances, say the same but for the ids that are each instance's own:
/// schema, configuration and metadata, compared as values. Objects that cannot be read are not the same.
pub fn same_definition(one: &[u8], other: &[u8]) -> bool {
    let parts = |answer: &[u8]| {
        let mut value: Value = serde_json::from_slice(answer).ok()?;
        value.get("schema")?;
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

/// An answer has the name and the metadata where a create has them.
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
        let plan = copy_requests(answer.as_bytes(), "th\"en").unwrap();
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
        let plan = copy_requests(answer.as_bytes(), "then").unwrap();
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
            assert_eq!(copy_requests(answer.as_bytes(), "n"), None, "{answer}");
        }
    }
}
