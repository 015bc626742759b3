//! What a failed run leaves for people in `target/chaos/`: history, schedule, journal, logs.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::driver::Done;
use super::history::{Operation, Seen};
use super::report::Report;
use super::schedule::Schedule;
use super::system::System;
use testkit::checker::history::Outcome;
use testkit::fold::Transaction;

/// Writes all of it, and returns where.
pub fn keep(
    report: &Report,
    schedule: &Schedule,
    done: &Done,
    history: &[Operation],
    journal: &[Transaction],
    system: &System,
) -> io::Result<PathBuf> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    // Runs with a broken rule are rarely looked at: keeping the last one is enough.
    let when = report.plan.rule.clone().unwrap_or_else(|| now.to_string());
    let name = format!("{}-{}-{when}", report.plan.store, report.plan.seed);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/chaos").join(name);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("report.txt"), report.to_string())?;
    let all: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    fs::write(dir.join("violations.txt"), all.join("\n"))?;
    fs::write(dir.join("schedule.txt"), format!("{schedule}\nwhat was done:\n{}\n", done.log.join("\n")))?;
    lines(&dir.join("history.jsonl"), history.iter().map(operation))?;
    lines(&dir.join("journal.jsonl"), journal.iter().map(transaction))?;
    for (index, edge) in system.edges.iter().enumerate() {
        fs::copy(edge.log_path(), dir.join(format!("edge-{index}.log")))?;
        fs::copy(edge.dir().join("edge.yaml"), dir.join(format!("edge-{index}.yaml")))?;
    }
    for index in 0..system.instances() {
        fs::copy(system.server_log(index), dir.join(format!("instance-{index}.log")))?;
    }
    if let Some(postgres) = &system.postgres {
        fs::write(dir.join("postgres.log"), postgres.log())?;
    }
    Ok(dir)
}

fn lines(path: &Path, all: impl Iterator<Item = serde_json::Value>) -> io::Result<()> {
    let mut file = io::BufWriter::new(fs::File::create(path)?);
    for line in all {
        writeln!(file, "{line}")?;
    }
    file.flush()
}

fn operation(one: &Operation) -> serde_json::Value {
    let (outcome, why) = match &one.outcome {
        Outcome::Refused(why) => ("refused", why.as_str()),
        Outcome::Unknown(why) => ("unknown", why.as_str()),
        _ => ("ok", ""),
    };
    let shown = one.shown.as_ref().map(|(collection, seen)| match seen {
        Seen::NoSuchCollection => json!({ "collection": collection, "found": false }),
        Seen::Count(count) => json!({ "collection": collection, "count": count }),
        Seen::Records(records) => {
            let record =
                |one: &testkit::content::Record| json!([one.id, one.document, one.metadata, one.uri, one.embedding]);
            json!({ "collection": collection, "records": records.iter().map(record).collect::<Vec<_>>() })
        }
    });
    json!({
        "invoked": one.invoked, "ended": one.ended, "worker": one.worker, "kind": one.kind.as_str(),
        "token": one.token, "outcome": outcome, "why": why, "sent": one.sent, "asked": one.asked, "shown": shown,
    })
}

fn transaction(one: &Transaction) -> serde_json::Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    json!({
        "seq": one.seq, "token": one.client_session, "transaction_id": one.transaction_id, "lane": one.lane,
        "method": one.method, "path": one.path, "body": text(&one.body), "verdict": one.verdict,
        "status": one.status, "answer": one.answer.as_deref().map(text),
    })
}
