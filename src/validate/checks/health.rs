//! `health`: the deployment says of itself that it is whole, and Chroma answers behind it.

use serde_json::Value;

use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;

pub fn run(run: &Run, findings: &mut Findings) -> Result<(), Stop> {
    findings.count("instances", run.instances.len());
    if run.instances.len() < 2 {
        findings.fail("there is only one instance: nothing is kept twice");
    }
    for instance in run.instances.iter().filter(|one| !one.healthy) {
        let error = instance.last_error.as_deref().unwrap_or("it does not say why");
        findings.fail(format!("{}: {error}", instance.describe()));
    }
    let health = run.edge.wire().get("/health")?;
    let said = health.json()?;
    if health.status != 200 || said["status"] != "ok" {
        findings.fail(format!("GET /health is {} with status {}", health.status, said["status"]));
    }
    status(&run.status, findings);
    journal(&run.edge.page("/wal/status")?, findings);
    let beat = run.edge.page("/api/v2/heartbeat")?;
    if !beat["nanosecond heartbeat"].is_number() {
        findings.fail(format!("no heartbeat of Chroma's behind the edge: {beat}"));
    }
    Ok(())
}

fn status(status: &Value, findings: &mut Findings) {
    findings.figure("journal", status["journal"]["store"].as_str().unwrap_or("unknown"));
    findings.figure("version", status["version"].as_str().unwrap_or("unknown"));
    if status["journal"]["lease"] != "held" {
        findings.fail("the edge does not hold its journal: writes may not be sent");
    }
    for one in status["diverged"].as_array().into_iter().flatten() {
        let name = one["collection_name"].as_str().or(one["collection_id"].as_str()).unwrap_or("a collection");
        findings.fail(format!("{name} is diverged on {}", one["instance"]));
    }
    if let Some(instance) = status["journal_held_back_by"].as_str() {
        findings.fail(format!("the journal is over its limit and kept for {instance}"));
    }
    if status["in_doubt"].as_u64().unwrap_or(0) > 0 {
        findings.note(format!("{} requests in doubt at the beginning", status["in_doubt"]));
    }
}

fn journal(wal: &Value, findings: &mut Findings) {
    if wal["available"] != true {
        let why = wal["error"].as_str().unwrap_or("it does not say why");
        findings.fail(format!("the journal cannot be read: {why}"));
    }
    findings.figure("pending writes", &wal["pending_writes"]);
}
