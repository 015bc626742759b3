//! One transaction, sent as a whole: BEGIN, its statements and COMMIT go out together, and the answers are read after.
//!
//! Decides what the answers mean. A transaction is committed only if the server confirmed every statement up to COMMIT:
//! the server answers COMMIT with success even after a statement failed, and rolls the transaction back. A transaction
//! is in doubt if all of it may have been sent, COMMIT included, and the server reported neither success nor failure.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_postgres::error::{DbError, Severity};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, Row, Statement};

use super::connect::{Session, explain};

/// A statement and its values.
pub(in crate::journal::postgres) struct Query<'a> {
    pub(in crate::journal::postgres) sql: &'static str,
    pub(in crate::journal::postgres) values: Vec<Box<dyn ToSql + Sync + Send + 'a>>,
}

/// A statement with these values.
macro_rules! query {
    ($sql:expr $(, $value:expr)* $(,)?) => {
        $crate::journal::postgres::connection::pipeline::Query { sql: $sql, values: vec![$(Box::new($value)),*] }
    };
}
pub(in crate::journal::postgres) use query;

/// The outcome of a transaction.
#[derive(Debug)]
pub(in crate::journal::postgres) enum Outcome {
    /// Durable, with the rows of each statement.
    Committed(Vec<Vec<Row>>),
    /// The server refused a statement or the COMMIT: nothing is durable.
    Failed(Box<DbError>, Connection),
    /// The COMMIT was not sent: nothing is or will be durable. The connection must not be used again.
    Lost(String),
    /// Unknown. The connection must not be used again.
    InDoubt(String),
}

/// Whether a connection can be used after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal::postgres) enum Connection {
    Usable,
    Spent,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

/// Prepares the statements that are not yet prepared on this connection, each once.
///
/// # Errors
/// Nothing of the transaction was sent.
async fn prepare(session: &Session, queries: &[Query<'_>]) -> Result<Vec<Statement>, Error> {
    let mut prepared = Vec::with_capacity(queries.len());
    for query in queries {
        prepared.push(session.prepare_cached(query.sql).await?);
    }
    Ok(prepared)
}

/// Runs the queries in one read-write transaction.
pub(in crate::journal::postgres) async fn transact(session: &Session, queries: &[Query<'_>]) -> Outcome {
    let prepared = match prepare(session, queries).await {
        Ok(prepared) => prepared,
        Err(error) => return unsent(&error),
    };
    session.take_unreplicated();
    let simple = |sql: &'static str| -> Answer<'_> {
        Box::pin(async move { session.batch_execute(sql).await.map(|()| Vec::new()) })
    };
    let mut answers: Vec<Answer<'_>> = Vec::with_capacity(queries.len() + 2);
    answers.push(simple("BEGIN READ WRITE"));
    for (query, statement) in queries.iter().zip(prepared) {
        answers.push(Box::pin(async move {
            let values: Vec<&(dyn ToSql + Sync)> =
                query.values.iter().map(|value| -> &(dyn ToSql + Sync) { &**value }).collect();
            session.query(&statement, &values).await
        }));
    }
    answers.push(simple("COMMIT"));
    match InOrder::new(answers).await {
        Answers::Unsent(error) => Outcome::Lost(explain(&error)),
        Answers::All(answers) => outcome(session, answers),
    }
}

/// Returns the outcome if a statement could not be prepared: the transaction never began.
fn unsent(error: &Error) -> Outcome {
    match error.as_db_error() {
        Some(said) if is_error(said) => Outcome::Failed(Box::new(said.clone()), Connection::Usable),
        _ => Outcome::Lost(explain(error)),
    }
}

/// Returns whether the connection remains usable after this error.
fn is_error(said: &DbError) -> bool {
    said.parsed_severity() == Some(Severity::Error)
}

fn outcome(session: &Session, mut answers: Vec<Result<Vec<Row>, Error>>) -> Outcome {
    let Some(commit) = answers.pop() else { return Outcome::Lost("nothing was sent".to_owned()) };
    let mut committed = Vec::with_capacity(answers.len());
    for answer in answers {
        match answer {
            Ok(rows) => committed.push(rows),
            Err(error) => match error.as_db_error() {
                // The server processes what it receives in order: nothing after a refused statement takes effect.
                Some(said) => {
                    let connection = if commit.is_ok() { Connection::Usable } else { Connection::Spent };
                    return Outcome::Failed(Box::new(said.clone()), connection);
                }
                None => return Outcome::InDoubt(explain(&error)),
            },
        }
    }
    match commit {
        Ok(_) if session.take_unreplicated() => {
            Outcome::InDoubt("the server gave up waiting for its replicas".to_owned())
        }
        Ok(_) => {
            // BEGIN returns no rows of interest.
            committed.remove(0);
            Outcome::Committed(committed)
        }
        Err(error) => match error.as_db_error() {
            Some(said) if is_error(said) => Outcome::Failed(Box::new(said.clone()), Connection::Usable),
            _ => Outcome::InDoubt(explain(&error)),
        },
    }
}

/// Collects the answers in the order of the queries. A query is sent when its future is first polled, so the queries
/// are sent in this order too.
struct InOrder<'a> {
    slots: Vec<Slot<'a>>,
    sent: bool,
}

enum Slot<'a> {
    Asked(Answer<'a>),
    Answered(Result<Vec<Row>, Error>),
}

enum Answers {
    All(Vec<Result<Vec<Row>, Error>>),
    /// A query could not be sent, and so COMMIT, which comes last, was not sent either.
    Unsent(Error),
}

impl<'a> InOrder<'a> {
    fn new(questions: Vec<Answer<'a>>) -> InOrder<'a> {
        InOrder { slots: questions.into_iter().map(Slot::Asked).collect(), sent: false }
    }
}

impl Future for InOrder<'_> {
    type Output = Answers;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answers> {
        let sending = !self.sent;
        let mut waits = false;
        for slot in &mut self.slots {
            let Slot::Asked(answer) = slot else { continue };
            match answer.as_mut().poll(context) {
                // No answer can have arrived yet, so the query was not sent.
                Poll::Ready(Err(error)) if sending => return Poll::Ready(Answers::Unsent(error)),
                Poll::Ready(result) => *slot = Slot::Answered(result),
                Poll::Pending => waits = true,
            }
        }
        self.sent = true;
        if waits {
            return Poll::Pending;
        }
        let answers = self.slots.drain(..).filter_map(|slot| match slot {
            Slot::Answered(result) => Some(result),
            Slot::Asked(_) => None,
        });
        Poll::Ready(Answers::All(answers.collect()))
    }
}
