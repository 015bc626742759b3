//! `/openapi.json`: a description of the edge's own pages.
//!
//! `pages.json` describes the content of each page in a short form: `"text"`, `"whole"` (a whole number), `"number"`,
//! `"flag"`, `"any"`, with a trailing `?` if null is possible; `@name` refers to one of the shapes at the end of the
//! file. A list contains its one item, an object its fields; the name `"*"` stands for any name, and a name that ends
//! with `?` may be absent. `empty` is no body, and `content:` is a body of that media type. This file turns the short
//! form into an OpenAPI document and adds 401 and 403 wherever the table of pages requires a role.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::auth::{Need, page_need};
use crate::chroma::EdgeAnswer;
use crate::web::Reply;

const PAGES: &str = include_str!("pages.json");
/// The methods that a description may contain.
const METHODS: [&str; 3] = ["get", "post", "delete"];

static DOCUMENT: LazyLock<Option<String>> = LazyLock::new(|| Some(document(PAGES)?.to_string()));

/// Answers with the document.
pub(super) fn page() -> Reply {
    match DOCUMENT.as_ref() {
        Some(document) => Reply::json(200, document.as_str()),
        // A test ensures that the document can be built.
        None => EdgeAnswer::empty(500).into(),
    }
}

/// Builds the document. `None`: `pages` is not a valid description.
fn document(pages: &str) -> Option<Value> {
    let pages: Map<String, Value> = serde_json::from_str(pages).ok()?;
    let shapes = pages.get("shapes")?.as_object()?;
    let schemas: Option<Map<String, Value>> =
        shapes.iter().map(|(name, shape)| Some((name.clone(), schema(shape)?))).collect();
    let mut paths = Map::new();
    for (path, operations) in pages.iter().filter(|(name, _)| name.starts_with('/')) {
        let mut item = Map::new();
        for (method, operation) in operations.as_object()? {
            item.insert(method.clone(), described(path, method, operation)?);
        }
        paths.insert(path.clone(), Value::Object(item));
    }
    Some(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "chroma-edge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The edge's own pages. Chroma's API is under /api/v2, as Chroma describes it.",
        },
        "paths": paths,
        "components": { "schemas": schemas? },
    }))
}

fn described(path: &str, method: &str, operation: &Value) -> Option<Value> {
    if !METHODS.contains(&method) {
        return None;
    }
    let mut responses = Map::new();
    for (status, shape) in operation.get("answers")?.as_object()? {
        let mut response = json!({ "description": status_text(status) });
        match shape.as_str().map(|text| (text, text.strip_prefix("content:"))) {
            Some(("empty", _)) => {}
            Some((_, Some(kind))) => response["content"] = json!({ kind: { "schema": { "type": "string" } } }),
            _ => response["content"] = json!({ "application/json": { "schema": schema(shape)? } }),
        }
        responses.insert(status.clone(), response);
    }
    if page_need(&method.to_uppercase(), path)? != Need::Nothing {
        for status in ["401", "403"].into_iter().filter(|status| operation["answers"].get(status).is_none()) {
            let content = json!({ "application/json": { "schema": named("@error")? } });
            responses.insert(status.to_owned(), json!({ "description": status_text(status), "content": content }));
        }
    }
    let in_path = path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    for (name, shape) in operation.get("query").and_then(Value::as_object).into_iter().flatten() {
        parameters.push(json!({ "name": name, "in": "query", "required": false, "schema": schema(shape)? }));
    }
    let mut whole = json!({ "summary": operation.get("summary")?.as_str()?, "responses": responses });
    if !parameters.is_empty() {
        whole["parameters"] = parameters.into();
    }
    if let Some(body) = operation.get("body") {
        let schema = schema(body)?;
        whole["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
    }
    Some(whole)
}

fn status_text(status: &str) -> &'static str {
    match status {
        "200" | "201" | "202" => "As asked for",
        "204" => "There is no more",
        "304" => "Not changed",
        "400" => "The request cannot be understood",
        "401" => "A token is asked for, and the request brings none that is valid",
        "403" => "Not allowed",
        "404" => "There is no such thing",
        "409" => "It cannot be done as things are",
        "422" => "The id was used for another request",
        _ => "Not now",
    }
}

/// Returns the JSON schema of a shape.
fn schema(shape: &Value) -> Option<Value> {
    match shape {
        Value::String(text) => named(text),
        Value::Array(items) => match &items[..] {
            [item] => Some(json!({ "type": "array", "items": schema(item)? })),
            _ => None,
        },
        Value::Object(fields) => {
            if let Some(any) = fields.get("*") {
                return Some(json!({ "type": "object", "additionalProperties": schema(any)? }));
            }
            let (mut properties, mut required) = (Map::new(), Vec::new());
            for (name, shape) in fields {
                let (name, optional) = name.strip_suffix('?').map_or((name.as_str(), false), |name| (name, true));
                properties.insert(name.to_owned(), schema(shape)?);
                if !optional {
                    required.push(name);
                }
            }
            Some(json!({
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            }))
        }
        _ => None,
    }
}

fn named(text: &str) -> Option<Value> {
    let (text, null) = text.strip_suffix('?').map_or((text, false), |text| (text, true));
    if let Some(name) = text.strip_prefix('@') {
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        return Some(if null { json!({ "anyOf": [reference, { "type": "null" }] }) } else { reference });
    }
    let kind = match text {
        "text" => "string",
        "whole" => "integer",
        "number" => "number",
        "flag" => "boolean",
        "any" => return Some(json!({})),
        _ => return None,
    };
    Some(if null { json!({ "type": [kind, "null"] }) } else { json!({ "type": kind }) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::table::ROUTES;
    use super::*;

    #[test]
    fn every_page_in_the_table_is_described_and_no_other() {
        let document = document(PAGES).expect("a description");
        let paths = document["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                item.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let methods = |methods: &'static str| methods.split(',').filter(|method| *method != "HEAD");
        let routed: BTreeSet<(String, String)> = ROUTES
            .iter()
            .flat_map(|route| methods(route.methods).map(|method| (route.template.to_owned(), method.to_owned())))
            .collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn who_may_not_is_described_where_a_role_is_asked_for() {
        let document = document(PAGES).expect("a description");
        let answers = |path: &str, method: &str| {
            let answers = document["paths"][path][method]["responses"].as_object().unwrap();
            let mut all: Vec<String> = answers.keys().cloned().collect();
            all.sort();
            all
        };
        assert_eq!(answers("/health/live", "get"), ["200"]);
        assert_eq!(answers("/metrics.json", "get"), ["200", "401", "403"]);
        assert_eq!(
            answers("/transaction/safety/transaction/{id}", "get"),
            ["200", "400", "401", "403", "404", "409", "503"]
        );
        let own = &document["paths"]["/collection/mappings/{name}"]["delete"]["responses"]["403"];
        assert!(own.to_string().contains("not_done"), "{own}");
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = document(PAGES).expect("a description").to_string();
        let schemas: Value = serde_json::from_str(&document).unwrap();
        for reference in document.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_shape_says_what_may_be_absent_and_what_may_be_null() {
        let shape = json!({ "a": "text?", "b?": ["whole"], "c": { "*": "@x?" } });
        let expected = json!({
            "type": "object",
            "properties": {
                "a": { "type": ["string", "null"] },
                "b": { "type": "array", "items": { "type": "integer" } },
                "c": {
                    "type": "object",
                    "additionalProperties": { "anyOf": [{ "$ref": "#/components/schemas/x" }, { "type": "null" }] },
                },
            },
            "required": ["a", "c"],
            "additionalProperties": false,
        });
        assert_eq!(schema(&shape), Some(expected));
        assert_eq!((schema(&json!("texts")), schema(&json!([])), schema(&json!(1))), (None, None, None));
    }
}
