//! `status`: whether a live edge is healthy, for people and for scripts.
//!
//! Decides the output and the exit code: 0 healthy, 1 degraded, 2 it cannot be reached or does not serve. The edge
//! decides what healthy means. A caller without a required token, such as a container's health check, gets the verdict,
//! too: `/health` is open to anybody.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::operator::{Edge, columns};
use crate::validate::{CallError, Operator};

/// The exit code for an edge that cannot be reached or does not serve.
const AWAY: u8 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    #[command(flatten)]
    edge: Edge,
    /// Print one JSON object: `verdict`, and what `/health` and `/status` show.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(asked: Asked) -> ExitCode {
    let token = asked.edge.token();
    let operator = match asked.edge.operator() {
        Ok(operator) => operator,
        Err(code) => return code,
    };
    let (text, code) = match look(&operator, token.as_deref()) {
        Ok((health, status)) => {
            let verdict = Verdict::of(health["status"].as_str());
            let shown = json!({ "verdict": verdict.as_str(), "health": health, "status": status });
            (if asked.json { format!("{shown}\n") } else { told(verdict, &health, status.as_ref()) }, verdict.code())
        }
        Err(error) if asked.json => {
            let shown = json!({ "verdict": Verdict::Away.as_str(), "error": error.to_string() });
            (format!("{shown}\n"), Verdict::Away.code())
        }
        Err(error) => (format!("{error}\n"), Verdict::Away.code()),
    };
    // A closed pipe does not change the result.
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    code
}

/// Reads `/health`, and `/status` if the edge shows it.
fn look(operator: &Operator, token: Option<&str>) -> Result<(Value, Option<Value>), CallError> {
    // A 503 also describes what is wrong.
    let health = operator.page_whatever_its_status("/health")?;
    match operator.page("/status") {
        Ok(status) => Ok((health, Some(status))),
        Err(error) if token.is_none() && error.asks_for_a_token() => Ok((health, None)),
        Err(error) => Err(error),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Healthy,
    Degraded,
    Away,
}

impl Verdict {
    fn of(status: Option<&str>) -> Verdict {
        match status {
            Some("healthy") => Verdict::Healthy,
            Some("degraded") => Verdict::Degraded,
            _ => Verdict::Away,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Verdict::Healthy => "healthy",
            Verdict::Degraded => "degraded",
            Verdict::Away => "unavailable",
        }
    }

    fn code(self) -> ExitCode {
        match self {
            Verdict::Healthy => ExitCode::SUCCESS,
            Verdict::Degraded => ExitCode::FAILURE,
            Verdict::Away => ExitCode::from(AWAY),
        }
    }
}

fn told(verdict: Verdict, health: &Value, status: Option<&Value>) -> String {
    let Some(status) = status else {
        return format!(
            "{}: {} servers in use{}; which, and more, is shown to a reader's token (--token, CHROMA_EDGE_TOKEN)\n",
            health["status"].as_str().unwrap_or(verdict.as_str()),
            health["healthy_instances"].as_str().unwrap_or("no"),
            if health["journal_writable"] == false { ", the journal takes no writes" } else { "" },
        );
    };
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let mut text = String::new();
    if verdict == Verdict::Away && status["role"] == "standby" {
        return format!("standby: {}\n", health["status"].as_str().unwrap_or("this edge does not serve"));
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}: {} of {} servers in use, {} writes to apply, {} in doubt",
        verdict.as_str(),
        number(&status["healthy_instances"]),
        number(&status["total_instances"]),
        number(&status["pending_writes"]),
        number(&status["in_doubt"]),
    );
    if health["journal_writable"] == false {
        let why = status["journal"]["error"].as_str().unwrap_or("it does not say why");
        let _ = writeln!(text, "  the journal takes no writes: {why}");
    }
    for (count, what) in [
        (number(&status["without_second_copy"]["count"]), "collections without a second copy"),
        (number(&health["halted_lanes"]), "halted lanes"),
        (status["diverged"].as_array().map_or(0, Vec::len) as u64, "copies that are not served from"),
    ] {
        if count > 0 {
            let _ = writeln!(text, "  {count} {what}");
        }
    }
    if status["healing_paused"] == true {
        text.push_str("  healing is paused: `chroma-edge heal resume` ends that\n");
    }
    let mut rows: Vec<[String; 6]> =
        vec![["INSTANCE", "ROLE", "STATE", "TO APPLY", "DIVERGED", "LAST ERROR"].map(str::to_owned)];
    for one in status["instances"].as_array().into_iter().flatten() {
        let word = |key: &str| one[key].as_str().unwrap_or("-").to_owned();
        let count = |key: &str| number(&one[key]).to_string();
        let error = if one["healthy"] == true { "-".to_owned() } else { word("last_error") };
        rows.push([
            word("name"),
            word("role"),
            word("state"),
            count("pending_writes"),
            count("diverged_collections"),
            error,
        ]);
    }
    text + &columns(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_what_the_edge_says_and_anything_else_is_away() {
        let of = |status| Verdict::of(status);
        assert_eq!([of(Some("healthy")), of(Some("degraded"))], [Verdict::Healthy, Verdict::Degraded]);
        assert_eq!([of(Some("unavailable")), of(Some("standby")), of(None)], [Verdict::Away; 3]);
    }

    #[test]
    fn the_text_names_what_is_wrong_and_nothing_else() {
        let instance = |name: &str, healthy: bool| {
            json!({ "name": name, "role": "replica", "state": "up", "healthy": healthy, "last_error": "refused",
                "pending_writes": 3, "diverged_collections": 0 })
        };
        let status = json!({ "healthy_instances": 1, "total_instances": 2, "pending_writes": 3, "in_doubt": 0,
            "without_second_copy": { "count": 2 }, "diverged": [], "instances": [instance("a", true), instance("b", false)] });
        let text = told(Verdict::Degraded, &json!({ "halted_lanes": 0 }), Some(&status));
        assert!(text.starts_with("degraded: 1 of 2 servers in use, 3 writes to apply, 0 in doubt\n"), "{text}");
        assert!(text.contains("2 collections without a second copy") && !text.contains("halted"), "{text}");
        assert!(!text.contains("paused"), "{text}");
        let refused = json!({ "journal": { "writable": false, "error": "the disk is full" } });
        let refusing = told(Verdict::Degraded, &json!({ "journal_writable": false }), Some(&refused));
        assert!(refusing.contains("\n  the journal takes no writes: the disk is full\n"), "{refusing}");
        assert!(!text.contains("journal"), "{text}");
        let anonymous = told(Verdict::Degraded, &json!({ "status": "degraded", "journal_writable": false }), None);
        assert!(anonymous.contains(", the journal takes no writes;"), "{anonymous}");
        let paused = json!({ "healing_paused": true });
        assert!(told(Verdict::Healthy, &Value::Null, Some(&paused)).contains("healing is paused"), "and forgotten");
        let last = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(last("a ").ends_with(" -") && last("b ").ends_with("refused"), "{text}");
    }
}
