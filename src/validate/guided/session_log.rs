//! What has been acknowledged so far: the content that every instance must hold in the end.

use serde_json::json;

use crate::validate::checks;
use crate::validate::client::{By, OwnCollection, OwnName, Verb};
use crate::validate::content::{self, Record};
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;
use crate::validate::sample;

/// The name under which this mode creates its collections.
pub const NAME: &str = "guided";

/// Records of each group that exist before the outage.
const EACH: u16 = 10;
/// Ids that the prober reuses in turn, because an outage may be long.
const PROBES: u16 = 200;

/// A collection and what it must hold.
#[derive(Debug)]
pub struct Expected {
    pub collection: OwnCollection,
    pub records: Vec<Record>,
}

/// The collections that must exist, those still to be dropped, and those that must be gone.
#[derive(Debug, Default)]
pub struct SessionLog {
    pub there: Vec<Expected>,
    pub doomed: Vec<OwnName>,
    pub gone: Vec<OwnName>,
}

impl SessionLog {
    /// Writes content before the outage: one collection to continue with, and one to drop.
    pub fn begin(&mut self, run: &Run) -> Result<(), Stop> {
        let (collection, _) = run.edge.create(&run.name(NAME, "before"), &json!(null))?;
        let groups = ["trimmed", "gone", "kept"].map(|group| sample::chunks(group, EACH)).concat();
        run.edge.records(&collection, By::Id, Verb::Add, &content::body(&groups))?;
        self.there.push(Expected { collection, records: groups });
        let (doomed, _) = run.edge.create(&run.name(NAME, "doomed"), &json!(null))?;
        let few = content::body(&sample::chunks("doomed", 3));
        run.edge.records(&doomed, By::Id, Verb::Add, &few)?;
        self.doomed.push(doomed.name().clone());
        Ok(())
    }

    /// Performs the n-th small write, to the first collection.
    pub fn prober(&mut self, run: &Run, n: u32) -> Result<Record, Stop> {
        let base = self.there.first_mut().ok_or_else(|| Stop("there is nothing to go on with".to_owned()))?;
        let id = u16::try_from(n % u32::from(PROBES)).unwrap_or(0);
        let record = Record { document: Some(format!("probe {n}")), ..sample::chunk("probe", id) };
        let body = content::body(std::slice::from_ref(&record));
        run.edge.records(&base.collection, By::Id, Verb::Upsert, &body)?;
        base.records.retain(|one| one.id != record.id);
        base.records.push(record.clone());
        Ok(record)
    }

    /// Returns the first collection, created before the outage.
    pub fn base(&self) -> Option<&OwnCollection> {
        self.there.first().map(|one| &one.collection)
    }

    /// Compares every instance with this log, and returns how many records were compared.
    pub fn compare(&self, run: &Run, findings: &mut Findings) -> usize {
        let mut compared = 0;
        for one in &self.there {
            compared += checks::assert_everywhere(run, findings, one.collection.name(), &one.records);
        }
        for name in &self.gone {
            for view in &run.views {
                let absent = || match view.collection(name) {
                    Ok(None) => Ok(()),
                    Ok(Some(_)) => Err(format!("{} still has {name}, which was removed", view.label())),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(why) = run.eventually(absent) {
                    findings.fail(why);
                }
            }
        }
        compared
    }
}
