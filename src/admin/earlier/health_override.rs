//! `POST /admin/instances/{name}/health`: an operator declares an instance unhealthy, whatever its probes report.
//!
//! This is a drain with sync stopped ([`Core::drain`](crate::coordinator::Core::drain)): nothing is sent to the
//! instance until the time is over or somebody ends the drain. A server that does not answer cannot be declared
//! healthy.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::Admin;
use crate::admin::refused::word;
use crate::chroma::{ErrorBody, ErrorName};
use crate::coordinator::{Insistence, Sync};
use crate::ids::{InstanceId, shown};
use crate::web::{PageRequest, Reply};

/// The longest duration of an override that ends by itself, in seconds: 30 days.
const LONGEST: f64 = 30.0 * 24.0 * 3600.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    healthy: bool,
    duration_seconds: Option<f64>,
    /// The instance's name, to confirm that last copies may go out of service.
    confirm: Option<String>,
}

/// Builds a refusal with the fields that scripts of the earlier system read.
fn refused(status: u16, name: ErrorName, reason: &'static str, text: &str, more: Value) -> Reply {
    let error = ErrorBody::new(name, text).with_reason(reason).to_json();
    let mut body: Value = serde_json::from_slice(&error).unwrap_or_default();
    super::performance::extend(&mut body, json!({ "success": false }));
    super::performance::extend(&mut body, more);
    Reply::json(status, body.to_string())
}

fn length(seconds: Option<f64>) -> Result<Option<Duration>, ()> {
    match seconds {
        None => Ok(None),
        Some(seconds) if (1.0..=LONGEST).contains(&seconds) => Ok(Some(Duration::from_secs_f64(seconds))),
        Some(_) => Err(()),
    }
}

impl Admin {
    /// Handles an operator's request.
    pub(in crate::admin) fn on_instance_health(&self, name: &str, request: &PageRequest) -> Reply {
        let registry = self.core.registry();
        let Some(id) = registry.id_of(name) else {
            let text = format!("No instance is called {:?}", shown(name));
            let names: Vec<&str> = registry.ids().map(|id| registry.name(id).as_str()).collect();
            let more = json!({ "available_instances": names });
            return refused(404, ErrorName::NotFoundError, "unknown_instance", &text, more);
        };
        let bad = |why: &str| {
            let text = format!(
                "Expected {{\"healthy\": bool, \"duration_seconds\": 1 to {LONGEST} (optional), \"confirm\": NAME (optional)}}: {why}"
            );
            refused(400, ErrorName::InvalidArgumentError, "bad_body", &text, json!({}))
        };
        let body = match word::<Body>(&request.body) {
            Ok(body) => body,
            Err(error) => return bad(&error.to_string()),
        };
        let Ok(length) = length(body.duration_seconds) else { return bad("that is no such span") };
        let insistence = match body.confirm {
            None => Insistence::None,
            Some(confirmed) if confirmed == name => Insistence::Confirmed,
            Some(_) => return bad("`confirm` is the instance's name"),
        };
        match body.healthy {
            true => self.healthy_again(id, name),
            false => self.unhealthy(id, name, length, insistence),
        }
    }

    fn unhealthy(&self, id: InstanceId, name: &str, length: Option<Duration>, insistence: Insistence) -> Reply {
        let before = self.core.is_in_use(id);
        if let Err(last) = self.core.drain(id, Sync::Stop, length, insistence) {
            let text = self.why_last_copy(name, &last);
            return refused(409, ErrorName::ChromaError, "last_copy", &text, json!({ "instance": name }));
        }
        let mut body = json!({
            "success": true,
            "instance": name,
            "health_set_to": false,
            "original_health": before,
            "message": "Nothing is sent to the instance, whatever its probes say; what it misses stays in the journal",
        });
        let end = match length {
            Some(length) => json!({ "will_restore_in_seconds": length.as_secs_f64() }),
            None => json!({ "permanent": true }),
        };
        super::performance::extend(&mut body, end);
        Reply::json(200, body.to_string())
    }

    /// Ends the override. After that, probes decide whether the instance is healthy.
    fn healthy_again(&self, id: InstanceId, name: &str) -> Reply {
        let before = self.core.is_in_use(id);
        let ended = self.core.undrain(id);
        if !self.core.is_in_use(id) {
            let text = match self.core.registry().last_error(id) {
                Some(error) => format!("The override is over, and the instance does not answer as it should: {error}"),
                None => "The override is over, and the instance does not answer as it should".to_owned(),
            };
            let more = json!({ "instance": name, "health_set_to": false, "original_health": before });
            return refused(409, ErrorName::ChromaError, "not_healthy", &text, more);
        }
        let message = match ended {
            true => "The override is over: requests are sent to the instance again",
            false => "Nothing was changed: nobody had set it unhealthy, and it answers",
        };
        let body = json!({
            "success": true,
            "instance": name,
            "health_set_to": true,
            "original_health": before,
            "permanent": true,
            "message": message,
        });
        Reply::json(200, body.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked_for() {
        let read = |text: &str| word::<Body>(text.as_bytes()).ok();
        assert!(read(r#"{"healthy":false,"duration_seconds":60}"#).is_some_and(|body| !body.healthy));
        assert!(read(r#"{"healthy":true}"#).is_some_and(|body| body.duration_seconds.is_none()));
        for bad in ["{}", "", "[false]", r#"{"healthy":"no"}"#, r#"{"healthy":false,"seconds":5}"#] {
            assert!(read(bad).is_none(), "{bad}: a slip would drain it for ever");
        }
    }

    #[test]
    fn a_span_has_an_end_that_can_be_reached() {
        assert_eq!(length(Some(1.5)), Ok(Some(Duration::from_millis(1500))));
        assert_eq!(length(None), Ok(None));
        for bad in [0.0, -1.0, 0.5, f64::NAN, f64::INFINITY, LONGEST + 1.0] {
            assert_eq!(length(Some(bad)), Err(()), "{bad}");
        }
    }
}
