//! Hands on what operators have asked for, to the program that replaces this one in its process.
//!
//! It decides only the format. A restart of any other kind begins with the configured order and without drains.

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::Core;
use super::placements::{Drain, DrainStage, Span, Sync};
use crate::clock::{self, Timestamp};
use crate::ids::InstanceId;
use crate::order::Input;

#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
struct HandedOn {
    primary: Option<Placed>,
    drains: Vec<Drained>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Placed {
    instance: String,
    since: i64,
    until: Option<i64>,
}

#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Drained {
    #[serde(flatten)]
    placed: Placed,
    stops_sync: bool,
}

impl Placed {
    fn new(instance: String, span: Span) -> Placed {
        Placed { instance, since: span.since.millis(), until: span.until.map(Timestamp::millis) }
    }

    fn span(&self) -> Span {
        Span::resumed(
            Timestamp::from_millis(self.since),
            self.until.map(Timestamp::from_millis),
            (Timestamp::now(), clock::now()),
        )
    }
}

impl Core {
    /// Returns the switchover and the drains that are in effect, or `None` if there are none.
    pub fn hand_on(&self) -> Option<String> {
        let name = |id: InstanceId| self.registry.name(id).as_str().to_owned();
        let primary = self.board().primary();
        let state = self.placements.lock();
        let drains = state.drains.iter().map(|(id, drain)| Drained {
            placed: Placed::new(name(*id), drain.span),
            stops_sync: drain.sync == Sync::Stop,
        });
        let handed_on =
            HandedOn { primary: state.switched.map(|span| Placed::new(name(primary), span)), drains: drains.collect() };
        let text = (handed_on != HandedOn::default()).then(|| serde_json::to_string(&handed_on));
        // Names and numbers can always be serialized.
        text.and_then(Result::ok)
    }

    /// Resumes what was handed on. Must be called before anything is sent.
    pub fn resume(&self, text: &str) {
        let handed_on: HandedOn = match serde_json::from_str(text) {
            Ok(handed_on) => handed_on,
            Err(error) => {
                return warn!(%error, "the switchovers and drains that were handed on cannot be read: none is resumed");
            }
        };
        let known = |name: &str| {
            let id = self.registry.id_of(name);
            if id.is_none() {
                info!(instance = name, "a switchover or drain ends: its instance is no longer configured");
            }
            id
        };
        let mut state = self.placements.lock();
        if let Some(placed) = handed_on.primary
            && let Some(instance) = known(&placed.instance).filter(|id| *id != InstanceId(0))
        {
            state.switched = Some(placed.span());
            self.step(Input::Prefer { instance });
            self.step(Input::HandedOver);
            info!(to = placed.instance, until = placed.until, "the switchover goes on");
        }
        for Drained { placed, stops_sync } in handed_on.drains {
            let Some(instance) = known(&placed.instance) else { continue };
            let sync = if stops_sync { Sync::Stop } else { Sync::Keep };
            state.drains.insert(instance, Drain { sync, span: placed.span(), stage: DrainStage::Draining });
            self.step(Input::Assign { instance, duty: sync.duty() });
            info!(instance = placed.instance, sync = sync.as_str(), until = placed.until, "the drain goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let placed = |name: &str, until| Placed { instance: name.to_owned(), since: 5, until };
        let drains = vec![Drained { placed: placed("b", None), stops_sync: true }];
        let handed_on = HandedOn { primary: Some(placed("a", Some(7))), drains };
        let text = serde_json::to_string(&handed_on).unwrap();
        assert_eq!(serde_json::from_str::<HandedOn>(&text).unwrap(), handed_on);
    }
}
