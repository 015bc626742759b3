//! Pingora's own keys, at the top level of the file.
//!
//! They go to Pingora unchanged. Pingora itself ignores unknown keys and reports one mistake at a time, with the whole
//! file in the message. Here each key is tried on its own, an unknown key is a mistake, and no message repeats the
//! file. What Pingora does with a key is not decided here.

use pingora::server::configuration::ServerConf;
use yaml_serde::{Mapping, Value};

use super::file::Raw;
use super::mistake::{Ledger, Location};
use super::section::nearest;
use super::tree;

/// The edge's own section.
pub(super) const EDGE: &str = "edge";

/// Builds Pingora's configuration from the top-level keys, with Pingora's defaults for the rest.
pub(super) fn server_conf(raw: &Raw, ledger: &Ledger) -> ServerConf {
    let mut keys = match top_level(raw, ledger) {
        Some(keys) => keys,
        None => return ServerConf::default(),
    };
    keys.remove(EDGE);
    let known = known_keys();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for (key, value) in &keys {
        let Some(name) = key.as_str() else { continue };
        let place = place_of(raw, name);
        if !known.contains(&name) {
            let hint = nearest(name, &[known.as_slice(), &[EDGE]].concat());
            let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            ledger.report(
                place,
                format!("{name} is not a known key of Pingora's{hint} (the edge's own keys stand under `edge:`)"),
            );
            continue;
        }
        let alone = Mapping::from_iter([(key.clone(), value.clone())]);
        let checked = yaml_serde::from_value::<ServerConf>(Value::Mapping(alone))
            .map_err(|error| error.to_string())
            .and_then(|conf| conf.validate().map(drop).map_err(|error| context(&error)));
        if let Err(wrong) = checked {
            ledger.report(place, format!("{name}: {wrong}"));
        }
    }
    yaml_serde::from_value(Value::Mapping(keys)).unwrap_or_default()
}

fn top_level(raw: &Raw, ledger: &Ledger) -> Option<Mapping> {
    match yaml_serde::from_str::<Value>(&raw.text) {
        Ok(Value::Mapping(keys)) => Some(keys),
        Ok(Value::Null) => None,
        Ok(_) => {
            ledger.report(raw.root.place, "the file must be a section with keys, one of them `edge:`");
            None
        }
        Err(error) => {
            // The tree's parser has usually reported the same error, with a better place.
            if ledger.is_clean() {
                let place = error.location().map_or(Location::Whole, |at| Location::Line(at.line()));
                ledger.report(place, format!("not valid YAML: {error}"));
            }
            None
        }
    }
}

/// Returns all of Pingora's keys: those it serializes with its defaults.
fn known_keys() -> Vec<String> {
    match yaml_serde::to_value(ServerConf::default()) {
        Ok(Value::Mapping(keys)) => keys.keys().filter_map(|key| key.as_str().map(str::to_owned)).collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn place_of(raw: &Raw, key: &str) -> Location {
    match &raw.root.value {
        tree::Value::Map(entries) => {
            entries.iter().find(|entry| entry.key == key).map_or(Location::Whole, |entry| entry.place)
        }
        _ => Location::Whole,
    }
}

fn context(error: &pingora::Error) -> String {
    error.context.as_ref().map_or_else(|| error.to_string(), |context| context.as_str().to_owned())
}
