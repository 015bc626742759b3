//! `delete`: of three document groups, one loses records by id, one is deleted by `where`, and one stays unchanged, on
//! every instance.

use serde_json::json;

use crate::validate::client::{By, Verb};
use crate::validate::content;
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

pub const NAME: &str = "delete";
const EACH: u16 = 5;

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let (collection, _) = run.edge.create(&run.name(NAME, "groups"), &json!(null))?;
    let [mut trimmed, gone, kept] = ["trimmed", "gone", "kept"].map(|group| sample::chunks(group, EACH));
    let all = [trimmed.clone(), gone, kept.clone()].concat();
    run.edge.records(&collection, By::Id, Verb::Add, &content::body(&all))?;
    super::assert_everywhere(run, findings, collection.name(), &all);

    let ids = json!({ "ids": [trimmed[1].id, trimmed[3].id] });
    let by_id = run.edge.records(&collection, By::Id, Verb::Delete, &ids)?;
    findings.expect("deleted by id, says the answer", &json!(2), &by_id.body["deleted"]);
    let group = json!({ "where": { "document_id": "gone" } });
    let by_where = run.edge.records(&collection, By::Name, Verb::Delete, &group)?;
    findings.expect("deleted by where, says the answer", &json!(EACH), &by_where.body["deleted"]);
    findings.time("delete by where", by_where.answer.took);

    trimmed.retain(|one| one.id != "trimmed::1" && one.id != "trimmed::3");
    let expected = [trimmed, kept].concat();
    super::assert_everywhere(run, findings, collection.name(), &expected);
    let found = super::shown::whole(run, &collection, By::Id, &json!({}))?;
    findings.differ(content::differences("through the edge", &expected, &found));
    findings.expect("the count", &json!(expected.len()), &run.edge.count(&collection)?);
    findings.count("deleted", all.len() - expected.len());
    findings.count("survivors", expected.len());
    Ok(())
}
