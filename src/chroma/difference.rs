//! Compares the definitions that two servers show for one collection.
//!
//! It decides which differences count. The caller decides what follows: a copy that differs is diverged.

use serde_json::Value;

/// Describes how two instances define one collection differently; `None` if they agree. Ignores values that are each
/// instance's own (ids, the number of threads), and metadata keys that one of them discovered in its data and indexes
/// according to the schema's defaults. If only one of them can show a schema, it must be one that a configuration alone
/// produces.
pub fn definition_difference(one: &[u8], other: &[u8]) -> Option<String> {
    differing(one, other, &["metadata", "configuration_json", "dimension"])
}

/// Describes how two Collection objects that should have one name differ in name or schema, if they do.
pub fn name_difference(one: &[u8], other: &[u8]) -> Option<String> {
    differing(one, other, &["name"])
}

/// Like [`definition_difference`], for a collection and a copy that has no records yet, and so no dimension.
pub fn blank_definition_difference(one: &[u8], blank: &[u8]) -> Option<String> {
    differing(one, blank, &["metadata", "configuration_json"])
}

fn differing(one: &[u8], other: &[u8], parts: &[&str]) -> Option<String> {
    let (Some(one), Some(other)) = (comparable(one), comparable(other)) else {
        return Some("a definition that cannot be read".to_owned());
    };
    for part in parts {
        if one[*part] != other[*part] {
            return Some(format!("{part}: {} and {}", shortened(&one[*part]), shortened(&other[*part])));
        }
    }
    match (one["schema"].as_object(), other["schema"].as_object()) {
        (Some(one), Some(other)) => {
            schema_difference(one, other).map(|key| format!("the schema of {}", shortened(&Value::from(key))))
        }
        (Some(only), None) | (None, Some(only)) => {
            (!is_plain(only)).then(|| "a schema that the other server cannot have".to_owned())
        }
        (None, None) => None,
    }
}

type Object = serde_json::Map<String, Value>;

/// Returns whether a configuration alone produces this schema: every index is on or off as by default.
fn is_plain(schema: &Object) -> bool {
    let on_where = |types: &Value, is_on: &dyn Fn(&str) -> bool| {
        let indexes = types.as_object().into_iter().flat_map(Object::values).filter_map(Value::as_object).flatten();
        indexes.into_iter().all(|(index, settings)| settings["enabled"] == is_on(index))
    };
    let is_inverted = |index: &str| index.ends_with("_inverted_index");
    let defaults = schema.get("defaults").unwrap_or(&Value::Null);
    let plain_key = |(key, types): (&String, &Value)| match key.as_str() {
        "#document" => on_where(types, &|index| index == "fts_index"),
        "#embedding" => {
            let source = types.pointer("/float_list/vector_index/config/source_key").unwrap_or(&Value::Null);
            on_where(types, &|_| true) && (source.is_null() || source == "#document")
        }
        _ => discovered(types, defaults),
    };
    let keys = schema.get("keys").and_then(Value::as_object);
    let others = schema.iter().filter(|(part, _)| !matches!(part.as_str(), "defaults" | "keys"));
    on_where(defaults, &is_inverted)
        && keys.is_some_and(|keys| keys.iter().all(plain_key))
        && others.into_iter().all(|(_, part)| part.is_null())
}

/// Parses a Collection object and removes the number of threads, which depends on the host.
fn comparable(answer: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(answer).ok()?;
    forget_threads(value.get_mut("configuration_json")?);
    if let Some(schema) = value.get_mut("schema").and_then(Value::as_object_mut) {
        for (part, types) in schema {
            match (part.as_str(), types) {
                ("defaults", types) => forget_threads_of(types),
                (_, Value::Object(keys)) => keys.values_mut().for_each(forget_threads_of),
                _ => {}
            }
        }
    }
    Some(value)
}

fn forget_threads_of(types: &mut Value) {
    if let Some(index) = types.pointer_mut("/float_list/vector_index/config") {
        forget_threads(index);
    }
}

fn forget_threads(configuration: &mut Value) {
    if let Some(hnsw) = configuration.get_mut("hnsw").and_then(Value::as_object_mut) {
        hnsw.remove("num_threads");
    }
}

/// Returns the first part of the schema that differs: a key, or the name of another part.
fn schema_difference(one: &Object, other: &Object) -> Option<String> {
    for part in one.keys().chain(other.keys()).filter(|part| *part != "keys") {
        if one.get(part) != other.get(part) {
            return Some(part.clone());
        }
    }
    let keys = |schema: &Object| schema.get("keys").and_then(Value::as_object).cloned();
    let (ours, theirs) = (keys(one).unwrap_or_default(), keys(other).unwrap_or_default());
    // They are equal if this point is reached.
    let defaults = one.get("defaults").unwrap_or(&Value::Null);
    let differs = |key: &&String| match (ours.get(*key), theirs.get(*key)) {
        (Some(one), Some(other)) => one != other && !(discovered(one, defaults) && discovered(other, defaults)),
        (Some(only), None) | (None, Some(only)) => !discovered(only, defaults),
        (None, None) => false,
    };
    ours.keys().chain(theirs.keys()).find(differs).cloned()
}

/// Returns whether the key is indexed according to the defaults, in each of its types.
fn discovered(types: &Value, defaults: &Value) -> bool {
    types.as_object().is_some_and(|types| types.iter().all(|(kind, index)| defaults.get(kind) == Some(index)))
}

/// Shortens a value for the log: clients' values can be long.
fn shortened(value: &Value) -> String {
    const MOST: usize = 300;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn collection(metadata: &Value, space: &str, threads: u64, keys: &Value) -> Value {
        let hnsw = json!({ "num_threads": threads, "ef_search": 5 });
        let vector = |enabled: bool| {
            json!({ "vector_index": { "enabled": enabled, "config": {
                "space": space, "hnsw": hnsw, "source_key": if enabled { json!("#document") } else { Value::Null } } } })
        };
        let text = |searched: bool| json!({ "fts_index": { "enabled": searched }, "string_inverted_index": { "enabled": !searched } });
        let mut schema = json!({ "defaults": { "string": text(false), "float_list": vector(false) }, "keys": keys });
        schema["keys"]["#embedding"] = json!({ "float_list": vector(true) });
        schema["keys"]["#document"] = json!({ "string": text(true) });
        let hnsw = json!({ "space": space, "num_threads": threads });
        json!({ "id": threads, "metadata": metadata, "schema": schema, "dimension": null, "configuration_json": { "hnsw": hnsw } })
    }

    fn without_schema(collection: &Value) -> Value {
        let mut collection = collection.clone();
        collection.as_object_mut().unwrap().remove("schema");
        collection
    }

    /// The same in both directions.
    fn difference(one: &Value, other: &Value) -> Option<String> {
        let bytes = [one.to_string(), other.to_string()];
        let there = definition_difference(bytes[0].as_bytes(), bytes[1].as_bytes());
        let back = definition_difference(bytes[1].as_bytes(), bytes[0].as_bytes());
        assert_eq!(there.is_none(), back.is_none(), "{there:?} {back:?}");
        there
    }

    #[test]
    fn what_is_each_servers_own_is_no_difference() {
        let of = |threads, keys: &Value| collection(&json!({ "a": 1 }), "l2", threads, keys);
        let plain = of(2, &json!({}));
        assert_eq!(difference(&plain, &of(7, &json!({}))), None, "threads");
        let discovered = json!({ "fts_index": { "enabled": false }, "string_inverted_index": { "enabled": true } });
        assert_eq!(difference(&plain, &of(2, &json!({ "k": { "string": discovered } }))), None, "discovered");
        assert_eq!(difference(&plain, &without_schema(&plain)), None, "what a configuration gives");
        let grown = of(2, &json!({ "k": { "string": discovered } }));
        assert_eq!(difference(&grown, &without_schema(&plain)), None, "the same, grown");
    }

    #[test]
    fn what_two_instances_define_differently_is_found() {
        let plain = collection(&json!({ "a": 1 }), "l2", 2, &json!({}));
        let not_indexed = json!({ "k": { "string": { "string_inverted_index": { "enabled": false } } } });
        let with = |pointer: &str, value: Value| {
            let mut changed = plain.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            changed
        };
        let schemas = [
            (collection(&json!({ "a": 1 }), "l2", 2, &not_indexed), "the schema of \"k\""),
            (with("/schema/defaults/string/fts_index/enabled", json!(true)), "the schema of \"defaults\""),
            (with("/schema/keys/#document/string/fts_index/enabled", json!(false)), "the schema of \"#document\""),
            (
                with("/schema/keys/#embedding/float_list/vector_index/config/source_key", json!("k")),
                "the schema of \"#embedding\"",
            ),
        ];
        let others = [
            (collection(&json!({ "a": 1.0 }), "l2", 2, &json!({})), "metadata"),
            (collection(&json!({ "a": 1 }), "cosine", 2, &json!({})), "configuration_json"),
            (with("/dimension", json!(3)), "dimension"),
        ];
        for (other, what) in schemas.iter().chain(&others) {
            let found = difference(&plain, other);
            assert!(found.as_deref().is_some_and(|found| found.starts_with(what)), "{what}: {found:?}");
        }
        for (other, what) in &schemas {
            let found = difference(&without_schema(&plain), other);
            assert_eq!(found.as_deref(), Some("a schema that the other server cannot have"), "{what}");
        }
        for (other, what) in &others {
            assert!(difference(&without_schema(&plain), other).is_some(), "{what}");
        }
        assert!(definition_difference(b"{}", b"{}").is_some());
    }
}
