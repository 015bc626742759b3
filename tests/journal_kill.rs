//! The journal against `kill -9`: what was acknowledged before the kill exists after it, in its order, and the file can
//! be opened again at once.

#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use chroma_edge::clock::Timestamp;
use chroma_edge::ids::{InstanceName, LaneId, Seq, TransactionId};
use chroma_edge::journal::sqlite::{OpenError, SqliteStore};
use chroma_edge::journal::{Appended, Draft, DurableSink, Journal, JournalOptions, Lookup, Store};
use chroma_edge::order::{Kind, Profile};

const JOURNAL: &str = "JOURNAL_KILL_PATH";
const ACKED: &str = "acked";
const ROUNDS: usize = 5;
const ACKS_PER_ROUND: usize = 40;
const WRITERS: usize = 8;

struct Nowhere;

impl DurableSink for Nowhere {
    fn appended(&self, _: Vec<Appended>) {}
}

fn draft() -> Draft {
    let body = Bytes::from(vec![b'x'; 3000]);
    Draft {
        transaction_id: TransactionId::random(),
        client_key: None,
        lane: LaneId::Catalog,
        profile: Profile::of(Kind::Add, body.len() as u64),
        method: "POST".to_owned(),
        path: "/".to_owned(),
        content_type: None,
        body,
        created_at: Timestamp::now(),
        client_session: None,
        client_ip: None,
        user_identifier: None,
        trace_context: None,
        instead_of: None,
    }
}

/// The process that is killed: it appends for ever and prints what was acknowledged.
#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
async fn victim() {
    let Some(path) = std::env::var_os(JOURNAL) else { return };
    let store = Arc::new(SqliteStore::open(Path::new(&path)).unwrap());
    let (journal, task) = Journal::start(store, JournalOptions::default(), Arc::new(Nowhere));
    for _ in 0..WRITERS {
        let journal = journal.clone();
        tokio::spawn(async move {
            loop {
                let draft = draft();
                let id = draft.transaction_id;
                let seq = journal.append(draft).await.unwrap();
                println!("\n{ACKED} {seq} {id}");
            }
        });
    }
    task.run(std::future::pending()).await;
}

/// A victim does not outlive its test, whatever fails.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        // Already dead if the test got that far.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_victim(path: &Path) -> Victim {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["victim", "--exact", "--ignored", "--nocapture"])
        .env(JOURNAL, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Victim(child)
}

/// Parses the acknowledgement in a complete line of the victim's output.
fn acked(line: &str) -> Option<(Seq, TransactionId)> {
    let (seq, id) = line.strip_prefix(ACKED)?.trim_start().split_once(' ')?;
    Some((Seq::new(seq.parse().ok()?), TransactionId::new(uuid::Uuid::try_parse(id).ok()?)))
}

#[tokio::test]
async fn acknowledged_appends_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal.db");
    let mut acknowledged = Vec::new();
    for round in 1..=ROUNDS {
        let mut victim = start_victim(&path);
        let mut lines = BufReader::new(victim.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let before = acknowledged.len();
        acknowledged.extend(lines.by_ref().filter_map(|line| acked(&line)).take(ACKS_PER_ROUND));
        assert!(matches!(SqliteStore::open(&path), Err(OpenError::InUse { .. })), "it is alive and holds the file");
        victim.0.kill().unwrap();
        victim.0.wait().unwrap();
        // What it printed before it died was acknowledged as well.
        acknowledged.extend(lines.filter_map(|line| acked(&line)));
        assert!(acknowledged.len() - before >= ACKS_PER_ROUND, "round {round}");

        let store = SqliteStore::open(&path).unwrap();
        for (seq, id) in &acknowledged {
            let row = store.transaction(&Lookup::Id(*id)).await.unwrap();
            assert_eq!(row.map(|row| row.seq), Some(*seq), "round {round}: {id} is lost");
        }
        let snapshot = store.load(&[InstanceName::new("primary")]).await.unwrap();
        let positions = snapshot.entries.iter().map(|entry| entry.seq.get());
        assert!(positions.eq(1..=snapshot.last.get()), "round {round}: positions have gaps");
    }
}
