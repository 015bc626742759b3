//! `/admin/switchover`, `/admin/drain` and `/admin/undrain`: change the primary, and take an instance out of use by
//! clients.
//!
//! Decides how these are requested and shown. The board decides whether one may begin, the coordinator when it ends.

use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::refused::refused;
use super::{Admin, DRAIN, Page, SWITCHOVER, UNDRAIN};
use crate::chroma::ErrorName;
use crate::clock::Timestamp;
use crate::coordinator::{Drain, DrainStage, Insistence, Span, Sync};
use crate::ids::{InstanceId, shown};
use crate::order::{LastCopies, NotReady};
use crate::web::{PageRequest, Reply};

/// The longest duration after which a switchover or a drain ends by itself.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// The error for a wrong `confirm`.
const CONFIRM: &str = "`confirm` is the name of the instance that is to be drained, or left out";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchoverBody {
    to: String,
    #[serde(rename = "for")]
    length: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SyncAsked {
    Keep,
    Stop,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    instance: String,
    sync: SyncAsked,
    #[serde(rename = "for")]
    length: Option<String>,
    confirm: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UndrainBody {
    instance: String,
}

/// Why nothing was done.
struct Refusal {
    status: u16,
    reason: &'static str,
    text: String,
}

impl Refusal {
    fn bad(reason: &'static str, text: String) -> Refusal {
        Refusal { status: 400, reason, text }
    }

    fn conflict(reason: &'static str, text: String) -> Refusal {
        Refusal { status: 409, reason, text }
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Reply {
        let name = match refusal.status {
            400 => ErrorName::InvalidArgumentError,
            _ => ErrorName::ChromaError,
        };
        refused(refusal.status, name, refusal.reason, &refusal.text)
    }
}

fn body<T: DeserializeOwned>(request: &PageRequest, expected: &str) -> Result<T, Refusal> {
    serde_json::from_slice(&request.body)
        .map_err(|error| Refusal::bad("bad_body", format!("Expected {expected}: {error}")))
}

/// Parses `90s`, `10m`, `2h` or `1d`; at least one second.
fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return None,
    };
    let span = Duration::from_secs(count.checked_mul(seconds)?);
    (!span.is_zero() && span <= LONGEST).then_some(span)
}

fn length(text: Option<&str>) -> Result<Option<Duration>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || {
        let text = shown(text);
        Refusal::bad(
            "bad_body",
            format!("`for` is a span of time such as 90s, 10m or 2h, at most 30d, and not {text:?}"),
        )
    };
    span(text).map(Some).ok_or_else(wrong)
}

fn why_not(name: &str, not_ready: NotReady) -> String {
    match not_ready {
        NotReady::Away => format!("{name} does not answer, or did not a moment ago"),
        NotReady::Drained => format!("{name} is drained: end that first"),
        NotReady::Lacks(count) => format!("{name} does not serve {count} collections that another instance serves"),
        NotReady::Behind(writes) => {
            format!("{name} has {writes} writes yet to apply, or one whose outcome there is unknown: try again")
        }
    }
}

fn until(span: Span) -> Option<i64> {
    span.until.map(Timestamp::millis)
}

/// Shows a drain, here and in `/status`.
pub(super) fn drain_shown(drain: &Drain) -> Value {
    json!({
        "state": stage(drain),
        "sync": drain.sync.as_str(),
        "since": drain.span.since.millis(),
        "until": until(drain.span),
    })
}

/// Returns the name of the drain's stage, as shown.
pub(super) const fn stage(drain: &Drain) -> &'static str {
    match drain.stage {
        DrainStage::Draining => "draining",
        DrainStage::Drained => "drained",
    }
}

impl Admin {
    /// Answers a request for one of these pages.
    pub(super) fn on_instances(&self, request: &PageRequest) -> Reply {
        let reads = request.method == Method::GET || request.method == Method::HEAD;
        match (request.path.as_str(), &request.method) {
            (SWITCHOVER, _) if reads => self.switchovers().into(),
            (DRAIN, _) if reads => self.drains().into(),
            (SWITCHOVER, &Method::POST) => self.switch_over(request).unwrap_or_else(Reply::from),
            (DRAIN, &Method::POST) => self.drain(request).unwrap_or_else(Reply::from),
            (UNDRAIN, &Method::POST) => self.undrain(request).unwrap_or_else(Reply::from),
            (UNDRAIN, _) => Reply::wrong_method("POST"),
            _ => Reply::wrong_method("GET,HEAD,POST"),
        }
    }

    /// Shows the current switchover, for `/status`.
    pub(super) fn switchover_shown(&self) -> Option<Value> {
        let primary = self.core.board().primary();
        let span = self.core.switchover()?;
        let to = self.core.registry().name(primary).as_str();
        Some(json!({ "to": to, "since": span.since.millis(), "until": until(span) }))
    }

    fn switchovers(&self) -> Page {
        let registry = self.core.registry();
        let primary = self.core.board().primary();
        let body = json!({
            "primary": registry.name(primary).as_str(),
            "configured_primary": registry.name(InstanceId(0)).as_str(),
            "switchover": self.switchover_shown(),
        });
        Page::Json { status: 200, body }
    }

    fn drains(&self) -> Page {
        let registry = self.core.registry();
        let drained = registry.ids().filter_map(|id| {
            let mut shown = drain_shown(&self.core.drain_of(id)?);
            shown["instance"] = registry.name(id).as_str().into();
            Some(shown)
        });
        Page::Json { status: 200, body: json!({ "drained": drained.collect::<Vec<_>>() }) }
    }

    fn named(&self, name: &str) -> Result<InstanceId, Refusal> {
        let unknown = || Refusal::bad("unknown_instance", format!("No instance is called {:?}", shown(name)));
        self.core.registry().id_of(name).ok_or_else(unknown)
    }

    fn switch_over(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let asked: SwitchoverBody = body(request, "{\"to\": \"<instance>\", \"for\": \"10m\" (optional)}")?;
        let (to, length) = (self.named(&asked.to)?, length(asked.length.as_deref())?);
        match self.core.switch_over(to, length) {
            Ok(()) => Ok(self.switchovers().into()),
            Err(why) => Err(Refusal::conflict("not_ready", why_not(&asked.to, why))),
        }
    }

    fn drain(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let expected = "{\"instance\": \"<instance>\", \"sync\": \"keep\" | \"stop\", \"for\": \"10m\" (optional)}";
        let asked: DrainBody = body(request, expected)?;
        let (instance, length) = (self.named(&asked.instance)?, length(asked.length.as_deref())?);
        let insistence = match asked.confirm {
            None => Insistence::None,
            Some(name) if name == asked.instance => Insistence::Confirmed,
            Some(_) => return Err(Refusal::bad("bad_body", CONFIRM.to_owned())),
        };
        let sync = match asked.sync {
            SyncAsked::Keep => Sync::Keep,
            SyncAsked::Stop => Sync::Stop,
        };
        match self.core.drain(instance, sync, length, insistence) {
            Ok(()) => Ok(self.drains().into()),
            Err(last) => Err(self.last_copy(&asked.instance, &last)),
        }
    }

    fn last_copy(&self, name: &str, last: &LastCopies) -> Refusal {
        Refusal::conflict("last_copy", self.why_last_copy(name, last))
    }

    /// Explains why the instance is not drained without confirmation.
    pub(super) fn why_last_copy(&self, name: &str, last: &LastCopies) -> String {
        let what = self.core.describe(last);
        format!("Without {name}, no other instance could serve {what}: add \"confirm\": {name:?} to insist")
    }

    fn undrain(&self, request: &PageRequest) -> Result<Reply, Refusal> {
        let asked: UndrainBody = body(request, "{\"instance\": \"<instance>\"}")?;
        self.core.undrain(self.named(&asked.instance)?);
        Ok(self.drains().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_needs_a_unit_and_has_an_end() {
        let seconds = |text: &str| span(text).map(|span| span.as_secs());
        assert_eq!(
            [seconds("90s"), seconds("10m"), seconds("2h"), seconds("30d")],
            [90, 600, 7200, 2_592_000].map(Some)
        );
        for wrong in ["", "s", "10", "0s", "31d", "1w", "-1s", "1.5h", "99999999999999999999d", "10 m", "1é"] {
            assert_eq!(seconds(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn what_may_be_asked_for() {
        let drain = |text: &str| serde_json::from_str::<DrainBody>(text).is_ok();
        assert!(drain(r#"{"instance":"a","sync":"keep"}"#));
        assert!(drain(r#"{"instance":"a","sync":"stop","for":"1m","confirm":"a"}"#));
        assert!(!drain(r#"{"instance":"a","sync":"pause"}"#));
        assert!(!drain(r#"{"instance":"a","sync":"keep","four":"1m"}"#), "a slip would drain it for ever");
    }
}
