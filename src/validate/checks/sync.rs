//! `sync`: after adds, upserts, updates and deletes, every instance holds exactly what was written, record by record,
//! with embeddings equal bit for bit.
//!
//! Each instance is compared with what was sent, not with another instance, so a loss that two share is found, too.

use serde_json::json;

use crate::validate::client::{By, Verb};
use crate::validate::content::{self, Record};
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

pub const NAME: &str = "sync";
const PLAIN: u16 = 40;

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    let (collection, _) = run.edge.create(&run.name(NAME, "one"), &json!(null))?;
    let write = |verb, body: &serde_json::Value| run.edge.records(&collection, By::Id, verb, body);
    let mut expected = sample::chunks("plain", PLAIN);
    write(Verb::Add, &content::body(&expected))?;
    let awkward = sample::awkward();
    write(Verb::Upsert, &content::body(&awkward))?;
    expected.extend(awkward);
    for record in expected.iter_mut().take(usize::from(PLAIN)).step_by(5) {
        update(record);
        let body = json!({ "ids": [record.id], "documents": [record.document], "metadatas": [{ "updated": 1.5 }] });
        write(Verb::Update, &body)?;
    }
    let mut deleted: Vec<Record> = Vec::new();
    while deleted.len() < 4 {
        deleted.push(expected.remove(3 * deleted.len() + 1));
    }
    let ids: Vec<&str> = deleted.iter().map(|one| one.id.as_str()).collect();
    write(Verb::Delete, &json!({ "ids": ids }))?;
    let compared = super::assert_everywhere(run, findings, collection.name(), &expected);
    findings.count("records compared", compared);
    findings.count("instances", run.views.len());
    findings.count("asked directly", run.views.iter().filter(|view| view.is_direct()).count());
    Ok(())
}

fn update(record: &mut Record) {
    record.document = Some(format!("{} updated", record.id));
    record.metadata.insert("updated".to_owned(), json!(1.5));
}
