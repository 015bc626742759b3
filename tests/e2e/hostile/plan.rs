//! What a hostile client sends: one request, or a few that belong together. Does not decide what is drawn.

use std::cell::Cell;
use std::fmt;

use testkit::http::{DEFAULT, record_path};
use testkit::random::Random;

use super::{catalog, odd, records, rows};

/// One request.
#[derive(Clone)]
pub struct Attack {
    pub method: &'static str,
    pub path: String,
    pub body: Vec<u8>,
}

impl Attack {
    pub fn post(path: impl Into<String>, body: impl Into<Vec<u8>>) -> Attack {
        Attack { method: "POST", path: path.into(), body: body.into() }
    }

    /// Creates a collection with this metadata.
    pub fn create(name: &str, metadata: &str) -> Attack {
        Attack::post(format!("{DEFAULT}/collections"), format!(r#"{{"name":"{name}","metadata":{metadata}}}"#))
    }
}

impl fmt::Display for Attack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = String::from_utf8_lossy(&self.body).chars().take(300).collect();
        let path: String = self.path.chars().take(200).collect();
        write!(f, "{} {path} ({} bytes) {shown}", self.method, self.body.len())
    }
}

/// Requests that are sent one after the other.
pub struct Plan {
    pub steps: Vec<Attack>,
    /// A collection that only they use. Its definition may make writes to it impossible.
    pub own: Option<String>,
}

impl Plan {
    pub fn of(attack: Attack) -> Plan {
        Plan { steps: vec![attack], own: None }
    }

    /// Returns a plan that creates its own collection with these records, and then writes to it.
    pub fn apart(room: &Room, records: &str, verb: &str, body: String) -> Plan {
        let name = room.fresh();
        let steps = vec![
            Attack::create(&name, "{}"),
            Attack::post(record_path(&name, "add"), records),
            Attack::post(record_path(&name, verb), body),
        ];
        Plan { steps, own: Some(name) }
    }
}

/// What a plan can use.
pub struct Room {
    /// The id of a collection that must survive whatever is sent to it.
    pub target: String,
    used: Cell<u32>,
}

impl Room {
    pub fn new(target: String) -> Room {
        Room { target, used: Cell::new(0) }
    }

    /// Returns an unused name.
    pub fn fresh(&self) -> String {
        self.used.set(self.used.get() + 1);
        format!("hostile{}", self.used.get())
    }
}

/// Draws the next plan.
pub fn draw(random: &mut Random, room: &Room) -> Plan {
    let mut plan = match random.below(10) {
        0..=3 => records::plan(random, room),
        4..=6 => catalog::plan(random, room),
        _ => rows::any(random, room),
    };
    if random.percent(10)
        && let Some(step) = plan.steps.last_mut()
    {
        step.body = odd::mutated(random, std::mem::take(&mut step.body));
    }
    plan
}
