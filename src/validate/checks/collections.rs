//! `collections`: a created collection exists on every instance under that instance's own id. The edge knows all of
//! these ids, and shows the collection under one id of its own everywhere. A removed collection is gone.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::validate::client::{CallError, OwnCollection};
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;

pub const NAME: &str = "collections";

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let name = run.name(NAME, "one");
    let (collection, written) = run.edge.create(&name, &json!({ "made": "by validate" }))?;
    findings.time("creation", written.answer.took);
    mapped(run, findings, &collection)?;
    shown(run, findings, &collection)?;
    match run.edge.create(&name, &Value::Null) {
        Err(CallError::Refused { status: 409, .. }) => {}
        Err(error) => findings.fail(format!("a second creation of one name was not answered 409: {error}")),
        Ok(_) => findings.fail("a second creation of one name succeeded"),
    }
    if findings.is_clean() {
        run.edge.remove(&name)?;
        gone(run, findings, &collection)?;
    }
    Ok(())
}

/// Checks that every instance has the collection under an id of its own, and shows it itself if it can be asked.
fn mapped(run: &Run, findings: &mut Findings, collection: &OwnCollection) -> Result<(), Stop> {
    let id = collection.id().to_string();
    let complete = || match run.mapping(&id)? {
        Some(mapping) if mapping["complete"] == true => Ok(mapping),
        Some(mapping) => Err(Stop(format!("its mapping is not complete: no id on {}", lacking(&mapping)))),
        None => Err(Stop("GET /collection/mappings does not have it".to_owned())),
    };
    let mapping = run.eventually(complete)?;
    findings.expect("the mapping's name", &json!(collection.name().as_str()), &mapping["collection_name"]);
    let mut ids = BTreeSet::new();
    for view in &run.views {
        let on = mapping["instances"].as_array().and_then(|list| list.iter().find(|one| one["instance"] == *view.name));
        let Some(there) = on.and_then(|one| one["collection_id"].as_str()) else {
            findings.fail(format!("the mapping has no id on {}", view.name));
            continue;
        };
        if !ids.insert(there.to_owned()) {
            findings.fail(format!("two instances are said to have it under one id: {there}"));
        }
        let expected = if view.is_direct() { there } else { &id };
        match view.collection(collection.name()) {
            Ok(Some(shown)) if shown.id == expected => {}
            Ok(Some(shown)) => findings.fail(format!("{} has it as {}, not as {expected}", view.label(), shown.id)),
            Ok(None) => findings.fail(format!("{} does not have it", view.label())),
            Err(error) => findings.fail(error.to_string()),
        }
    }
    findings.count("instance ids", ids.len());
    Ok(())
}

fn lacking(mapping: &Value) -> String {
    let list = mapping["instances"].as_array().into_iter().flatten();
    let without = list.filter(|one| one["collection_id"].is_null()).filter_map(|one| one["instance"].as_str());
    without.collect::<Vec<_>>().join(", ")
}

/// Checks that the collection is shown by name, by id, and once in the list.
fn shown(run: &Run, findings: &mut Findings, collection: &OwnCollection) -> Result<(), Stop> {
    let id = collection.id().to_string();
    let place = run.edge.place();
    for path in [place.collection(collection.name().as_str()), place.by_id(&id)] {
        let shown = run.edge.page(&path)?;
        findings.expect(&format!("the id at {path}"), &json!(id), &shown["id"]);
        findings.expect(&format!("the metadata at {path}"), &json!({ "made": "by validate" }), &shown["metadata"]);
    }
    // A list of several pages can miss one while others are removed.
    let once = || match super::shown::listed(run)?.into_iter().filter(|(_, listed)| *listed == id).count() {
        1 => Ok(()),
        times => Err(Stop(format!("the list shows it {times} times"))),
    };
    run.eventually(once)
}

fn gone(run: &Run, findings: &mut Findings, collection: &OwnCollection) -> Result<(), Stop> {
    let answer = run.edge.wire().get(&run.edge.place().collection(collection.name().as_str()))?;
    findings.expect("the status of a removed collection", &404, &answer.status);
    if run.mapping(&collection.id().to_string())?.is_some() {
        findings.fail("GET /collection/mappings still has it after its removal");
    }
    for view in &run.views {
        let absent = || match view.collection(collection.name()) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(Stop(format!("{} still has it after its removal", view.label()))),
            Err(error) => Err(error.into()),
        };
        if let Err(Stop(why)) = run.eventually(absent) {
            findings.fail(why);
        }
    }
    Ok(())
}
