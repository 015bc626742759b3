//! The journal's fold, computed here: its applied entries, replayed one by one in `seq` order into a fresh Chroma
//! server.
//!
//! Reads the SQLite file or the PostgreSQL tables directly, so that it shares nothing with the edge but the stored
//! format.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};
use serde_json::Value;

use super::chroma::ChromaServer;
use super::content::Content;
use super::http::{Answer, Client};
use super::postgres::Postgres;

/// One journaled write.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub seq: i64,
    pub transaction_id: String,
    pub lane: String,
    pub method: String,
    pub path: String,
    /// What is executed: the resolution of a limited delete, otherwise the request's body.
    pub body: Vec<u8>,
    pub verdict: Option<String>,
    pub status: String,
    /// The stored answer.
    pub answer: Option<Vec<u8>>,
    /// The name that the client gave its session.
    #[allow(dead_code, reason = "the chaos run knows writes by it")]
    pub client_session: Option<String>,
    /// `unvouched`, or `None`.
    pub vouching: Option<String>,
}

impl Transaction {
    pub fn is_applied(&self) -> bool {
        self.verdict.as_deref().is_some_and(|verdict| verdict.eq_ignore_ascii_case("applied"))
    }
}

/// Returns every transaction in this journal, in order.
pub fn transactions(journal: &Path) -> Vec<Transaction> {
    let store = open(journal);
    let sql = "SELECT seq, transaction_id, lane, method, path, COALESCE(resolved, body), verdict, answer_body, status, \
               client_session, vouching FROM transactions JOIN bodies USING (seq) ORDER BY seq";
    let mut statement = store.prepare(sql).expect("the journal's table");
    let read = |row: &Row<'_>| {
        Ok(Transaction {
            seq: row.get(0)?,
            transaction_id: text(row, 1)?,
            lane: text(row, 2)?,
            method: row.get(3)?,
            path: row.get(4)?,
            body: bytes(row, 5)?.unwrap_or_default(),
            verdict: row.get(6)?,
            answer: bytes(row, 7)?,
            status: row.get(8)?,
            client_session: row.get(9)?,
            vouching: row.get(10)?,
        })
    };
    let rows = statement.query_map([], read).expect("the journal's rows");
    whole(rows.collect::<Result<_, _>>().expect("a row of the journal"))
}

/// Checks that the journal has its first entry. A trimmed journal would fold into something else.
fn whole(all: Vec<Transaction>) -> Vec<Transaction> {
    assert!(all.first().is_none_or(|first| first.seq == 1), "trimmed up to {:?}", all.first());
    all
}

/// Returns every transaction in this server's journal, in order.
pub fn transactions_of(server: &Postgres) -> Vec<Transaction> {
    let text = |column: &str| format!("encode(convert_to({column}, 'UTF8'), 'hex')");
    let bytes = |column: &str| format!("coalesce(encode({column}, 'hex'), '-')");
    let sql = format!(
        "SELECT seq, transaction_id, lane, {}, {}, {}, coalesce(verdict, '-'), {}, status, coalesce({}, '-'), coalesce(vouching, '-')
        FROM chroma_edge.transactions JOIN chroma_edge.bodies USING (seq) ORDER BY seq",
        text("method"),
        text("path"),
        bytes("coalesce(resolved, body)"),
        bytes("answer_body"),
        text("client_session")
    );
    let answer = server.sql(&sql);
    let read = |line: &str| {
        let columns: Vec<&str> = line.split('|').collect();
        let [seq, id, lane, method, path, body, verdict, answer, status, session, vouching] = columns[..] else {
            panic!("eleven columns: {line}")
        };
        let text = |hex| String::from_utf8(unhex(hex).expect("a value")).expect("text");
        Transaction {
            seq: seq.parse().expect("a position"),
            transaction_id: id.to_owned(),
            lane: lane.to_owned(),
            method: text(method),
            path: text(path),
            body: unhex(body).expect("a body"),
            verdict: (verdict != "-").then(|| verdict.to_owned()),
            status: status.to_owned(),
            answer: unhex(answer),
            client_session: unhex(session).map(|bytes| String::from_utf8(bytes).expect("text")),
            vouching: (vouching != "-").then(|| vouching.to_owned()),
        }
    };
    whole(answer.lines().map(read).collect())
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (hex != "-").then(|| (0..hex.len()).step_by(2).map(digit).collect())
}

fn open(journal: &Path) -> Connection {
    Connection::open_with_flags(journal, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the journal, read only")
}

/// Reads a text, or a UUID stored as bytes.
fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) => {
            uuid::Uuid::from_slice(bytes).map_or_else(|_| format!("{bytes:?}"), |id| id.to_string())
        }
        other => other.as_str().unwrap_or_default().to_owned(),
    })
}

fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Vec<u8>>> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Some(bytes.to_vec()),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    })
}

/// Returns the mapping from each instance's own collection ids to the ids that clients see.
fn aliases(journal: &Path) -> HashMap<String, String> {
    let store = open(journal);
    let sql = "SELECT instance_collection_id, collection FROM collection_instances";
    let mut statement = store.prepare(sql).expect("the journal's table");
    let rows = statement.query_map([], |row| Ok((text(row, 0)?, text(row, 1)?))).expect("the journal's rows");
    rows.collect::<Result<_, _>>().expect("a row of the journal")
}

fn aliases_of(server: &Postgres) -> HashMap<String, String> {
    let answer = server.sql("SELECT instance_collection_id, collection FROM chroma_edge.collection_instances");
    let read = |line: &str| line.split_once('|').map(|(own, id)| (own.to_owned(), id.to_owned()));
    answer.lines().map(|line| read(line).expect("two columns")).collect()
}

/// Returns what a single Chroma holds after executing this journal in order.
pub fn fold(journal: &Path, tenants: &[&str]) -> Content {
    replayed(&transactions(journal), aliases(journal), tenants)
}

/// Returns what a single Chroma holds after executing this server's journal in order.
pub fn fold_of(server: &Postgres, tenants: &[&str]) -> Content {
    replayed(&transactions_of(server), aliases_of(server), tenants)
}

fn replayed(transactions: &[Transaction], aliases: HashMap<String, String>, tenants: &[&str]) -> Content {
    let server = ChromaServer::fresh();
    let mut replay = Replay { client: server.client(), aliases, ids: HashMap::new() };
    for transaction in transactions.iter().filter(|transaction| transaction.is_applied()) {
        replay.execute(transaction);
    }
    Content::of(&server.client(), tenants)
}

struct Replay {
    client: Client,
    aliases: HashMap<String, String>,
    /// The client's collection id -> the fresh server's collection id.
    ids: HashMap<String, String>,
}

impl Replay {
    fn execute(&mut self, transaction: &Transaction) {
        let path = self.translate(transaction);
        let answer = self.client.send(&transaction.method, &path, "application/json", &transaction.body);
        let answer = answer.unwrap_or_else(|error| panic!("{transaction:?}: {error}"));
        assert!(answer.status < 300, "applied by an instance, refused by a fresh server: {transaction:?} -> {answer}");
        if transaction.method == "POST" && path.split('?').next().is_some_and(|path| path.ends_with("/collections")) {
            self.remember(transaction, &answer);
        }
    }

    fn remember(&mut self, transaction: &Transaction, answer: &Answer) {
        let stored = transaction.answer.as_deref().unwrap_or_else(|| panic!("no stored answer: {transaction:?}"));
        let stored: Value = serde_json::from_slice(stored).unwrap_or_else(|error| panic!("{error}: {transaction:?}"));
        let given = stored["id"].as_str().unwrap_or_else(|| panic!("no id in the stored answer: {transaction:?}"));
        self.ids.insert(given.to_owned(), answer.json()["id"].as_str().expect("an id").to_owned());
    }

    /// Returns the path with the collection that the edge meant. A record write's lane identifies it.
    fn translate(&self, transaction: &Transaction) -> String {
        let Some((before, rest)) = transaction.path.split_once("/collections/") else {
            return transaction.path.clone();
        };
        let (place, after) = rest.find(['/', '?']).map_or((rest, ""), |end| rest.split_at(end));
        let by_lane = self.ids.get(&transaction.lane);
        let by_place = || {
            let id = uuid::Uuid::try_parse(place).ok()?.hyphenated().to_string();
            self.ids.get(&id).or_else(|| self.ids.get(self.aliases.get(&id)?))
        };
        let id = by_lane.or_else(by_place).map_or(place, String::as_str);
        format!("{before}/collections/{id}{after}")
    }
}
