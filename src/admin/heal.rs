//! `/admin/heal`: what is being healed, and how an operator pauses and resumes it.
//!
//! It decides nothing: the state is read from the healer and the board. A pause ends with the process.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refused::{refused, word};
use super::{Admin, Page};
use crate::chroma::ErrorName;
use crate::heal::{HealPause, HealStage, HealView, HealWay};
use crate::ids::shown;
use crate::metrics::Number;
use crate::order::LaneState;
use crate::web::{PageRequest, Reply};

/// The actions that an operator can request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Pause,
    Resume,
}

#[derive(Deserialize)]
struct Body {
    action: Action,
}

impl Admin {
    /// Lists the copies that are being healed, and those that failed and will be tried again.
    pub(super) fn healing(&self) -> Vec<Value> {
        self.healing.views().into_iter().map(|view| self.shown_copy(&view)).collect()
    }

    fn shown_copy(&self, view: &HealView) -> Value {
        let registry = self.core.registry();
        let (name, state) = {
            let board = self.core.board();
            let name = board.catalog().get(view.collection).map(|known| shown(&known.name).into_owned());
            (name, board.state_of(view.collection, view.target))
        };
        let left = view.total.saturating_sub(view.records);
        json!({
            "collection_id": view.collection.to_string(),
            "collection_name": name,
            "source": registry.name(view.source).as_str(),
            "instance": registry.name(view.target).as_str(),
            "state": match view.stage {
                HealStage::Copying => "healing",
                HealStage::Waiting => "waiting",
            },
            "way": view.way.map(HealWay::as_str),
            "why": why(state),
            "seconds": view.seconds,
            "records": view.records,
            "written_records": view.written,
            "total_records": view.total,
            "percent": (view.total > 0).then(|| 100.0 * view.records as f64 / view.total as f64),
            "records_per_second": view.rate,
            "eta_seconds": (view.rate > 0.0 && view.stage == HealStage::Copying).then(|| left as f64 / view.rate),
            "last_error": view.error,
        })
    }

    /// The gauges of healing.
    pub(super) fn heal_numbers(&self) -> Vec<(Number, i64)> {
        let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let number = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        let copies = self.healing.views();
        let making: Vec<_> = copies.iter().filter(|view| view.stage == HealStage::Copying).collect();
        let left = making.iter().map(|view| view.total.saturating_sub(view.records)).sum();
        let markers = self.core.discovery().markers();
        let foreign = self.core.registry().ids().filter(|id| markers.foreign(*id).is_some()).count();
        vec![
            (Number::HealCopies, number(making.len())),
            (Number::HealWaiting, number(copies.len() - making.len())),
            (Number::HealRecordsLeft, count(left)),
            (Number::HealPaused, i64::from(self.healing.pause() == HealPause::Paused)),
            (Number::ForeignServers, number(foreign)),
        ]
    }

    fn heal_body(&self) -> Value {
        let (registry, markers) = (self.core.registry(), self.core.discovery().markers());
        let foreign = |id| {
            let foreign = markers.foreign(id)?.to_string();
            Some(json!({
                "instance": registry.name(id).as_str(), "foreign": foreign, "rebuild": self.foreign_stage(id),
            }))
        };
        json!({
            "paused": self.healing.pause() == HealPause::Paused,
            "healing": self.healing(),
            "foreign": registry.ids().filter_map(foreign).collect::<Vec<_>>(),
        })
    }

    /// Shows the state of healing.
    pub(super) fn heal_page(&self) -> Page {
        Page::Json { status: 200, body: self.heal_body() }
    }

    /// Handles an operator's request.
    pub(super) fn on_heal(&self, request: &PageRequest) -> Reply {
        if request.method == Method::GET || request.method == Method::HEAD {
            return Reply::from(self.heal_page());
        }
        if request.method != Method::POST {
            return Reply::wrong_method("GET,HEAD,POST");
        }
        let Ok(Body { action }) = word(&request.body) else {
            let text = "Expected {\"action\": \"pause\" | \"resume\"}";
            return refused(400, ErrorName::InvalidArgumentError, "bad_body", text);
        };
        let pause = match action {
            Action::Pause => HealPause::Paused,
            Action::Resume => HealPause::On,
        };
        if self.healing.set_pause(pause) {
            tracing::info!(?action, "an operator paused or resumed healing");
        }
        Reply::from(self.heal_page())
    }
}

/// Returns why the copy is being healed.
fn why(state: LaneState) -> &'static str {
    match state {
        LaneState::InStep => "it is in step",
        LaneState::Diverged => "its content is not known to be equal",
        LaneState::Quarantined => "the instance died of a write to it",
        LaneState::Condemned => "it is known to be wrong",
        LaneState::Contradicted => "its records are not what the journal's writes make of them",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked_for() {
        let action = |body: &str| word::<Body>(body.as_bytes()).ok().map(|body| body.action);
        assert_eq!(action(r#"{"action":"pause"}"#), Some(Action::Pause));
        assert_eq!(action(r#"{"action":"resume"}"#), Some(Action::Resume));
        assert_eq!([action(r#"{"action":"stop"}"#), action("{}"), action("[1]")], [None; 3]);
    }
}
