//! `health`: the deployment reports itself as whole, and Chroma answers behind it. It is still whole at the end of the
//! run.

use std::time::Duration;

use serde_json::Value;

use crate::validate::endpoint::Endpoint;
use crate::validate::findings::{Findings, Stop};
use crate::validate::run::Run;

pub const NAME: &str = "health";
/// How long the last look may take even after the run's limit.
const LAST_LOOK: Duration = Duration::from_secs(10);

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
    if health.status != 200 || said["status"] != "healthy" {
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
    diverged(status).into_iter().for_each(|what| findings.fail(what));
    if let Some(instance) = status["journal_held_back_by"].as_str() {
        findings.fail(format!("the journal is over its limit and kept for {instance}"));
    }
    if status["in_doubt"].as_u64().unwrap_or(0) > 0 {
        findings.note(format!("{} requests in doubt at the beginning", status["in_doubt"]));
    }
}

fn diverged(status: &Value) -> Vec<String> {
    let what = |one: &Value| {
        let name = one["collection_name"].as_str().or(one["collection_id"].as_str()).unwrap_or("a collection");
        format!("{name} is diverged on {}", one["instance"])
    };
    status["diverged"].as_array().into_iter().flatten().map(what).collect()
}

/// Returns what has become unhealthy since the beginning. What was unhealthy from the beginning is reported by the
/// check itself.
pub fn at_the_end(run: &Run) -> Vec<String> {
    run.patience.renew();
    let wire = run.edge.wire().overtime(LAST_LOOK);
    // A suspect instance is soon up or down; wait for that, so that a death in the last moments counts.
    let settled = || match Endpoint::ask(&wire) {
        Endpoint::Active { instances, status } if instances.iter().any(|one| one.state == "suspect") => {
            Err(Endpoint::Active { instances, status })
        }
        endpoint => Ok(endpoint),
    };
    let (instances, status) = match run.eventually(settled).unwrap_or_else(|endpoint| endpoint) {
        Endpoint::Active { instances, status } => (instances, status),
        Endpoint::Standby(why) | Endpoint::NotAnEdge(why) | Endpoint::Unreachable(why) => {
            return vec![format!("at the end of the run: {why}")];
        }
    };
    let mut lost = Vec::new();
    for known in run.instances.iter().filter(|one| one.healthy) {
        match instances.iter().find(|one| one.name == known.name) {
            Some(now) if now.healthy => {}
            Some(now) => {
                let error = now.last_error.as_deref().unwrap_or("it does not say why");
                lost.push(format!("at the end of the run: {}: {error}", now.describe()));
            }
            None => lost.push(format!("at the end of the run: the edge does not know {} any more", known.name)),
        }
    }
    let before = diverged(&run.status);
    let new = diverged(&status).into_iter().filter(|what| !before.contains(what));
    lost.extend(new.map(|what| format!("at the end of the run: {what}")));
    lost
}

fn journal(wal: &Value, findings: &mut Findings) {
    if wal["available"] != true {
        let why = wal["error"].as_str().unwrap_or("it does not say why");
        findings.fail(format!("the journal cannot be read: {why}"));
    }
    findings.figure("pending writes", &wal["pending_writes"]);
}
