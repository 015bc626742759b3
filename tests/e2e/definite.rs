//! Repeats a request until there is a definite answer, which is one that does not announce a later one.

use std::time::{Duration, Instant};

use testkit::http::{Answer, Client};

/// Every request gets a definite answer within this time.
pub const DEFINITE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// A definite answer, and how long it took with all repetitions.
pub struct Definite {
    pub answer: Answer,
    pub took: Duration,
}

/// Sends a request, and repeats it as long as the answer asks for that, as a patient client would. A write that was
/// journaled but has no outcome when it is answered counts as undecided, and may not be sent again.
///
/// # Errors
/// What came instead.
pub fn ask(client: &Client, method: &str, path: &str, body: &[u8]) -> Result<Definite, String> {
    let started = Instant::now();
    loop {
        let left = DEFINITE.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(format!("no definite answer within {DEFINITE:?}"));
        }
        let content_type = if body.is_empty() { "" } else { "application/json" };
        let sent = client.with_timeout(left).send(method, path, content_type, body);
        let took = started.elapsed();
        match sent {
            Err(error) => return Err(format!("no answer after {took:?}: {error}")),
            Ok(answer) if answer.text().contains("\"recovery\":") => {
                return Err(format!("undecided after {took:?}: {answer}"));
            }
            Ok(answer) if answer.header("retry-after").is_some() => std::thread::sleep(PAUSE),
            Ok(answer) => return Ok(Definite { answer, took }),
        }
    }
}
