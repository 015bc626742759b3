//! Whether the data is safe, in a sentence for readers who know nothing about an edge.
//!
//! Decides the level and the text from a few facts. It does not gather the facts.

use serde_json::{Value, json};

/// The input of the verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub instances: Vec<Seen>,
    pub collections: usize,
    /// Collections that fewer than two instances hold in step.
    pub single_copies: usize,
    /// Journaled writes that some instance has yet to apply.
    pub pending: u64,
    pub halted_lanes: usize,
    pub journal: JournalSeen,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub name: String,
    /// The state, as in `/status`.
    pub state: &'static str,
    pub service: Service,
    /// Writes that it has yet to apply.
    pub behind: u64,
}

/// Whether the instance serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    Serving,
    NotServing,
}

/// Whether the journal takes writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum JournalSeen {
    #[default]
    Writable,
    /// The journal takes no writes, for this reason.
    Refusing(String),
}

/// How safe the data is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Everything is kept twice and served.
    Safe,
    /// One more failure loses nothing, but there is less redundancy than configured.
    Reduced,
    /// The loss of one server could lose data that exists nowhere else.
    AtRisk,
    /// Clients are not served.
    Unavailable,
}

impl Level {
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Safe => "safe",
            Level::Reduced => "reduced",
            Level::AtRisk => "at_risk",
            Level::Unavailable => "unavailable",
        }
    }
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub level: Level,
    pub headline: String,
    /// One sentence each, the most severe first.
    pub details: Vec<String>,
}

impl Verdict {
    pub fn shown(&self) -> Value {
        json!({ "level": self.level.as_str(), "headline": self.headline, "details": self.details })
    }
}

/// Formats a count, as in `1 write` or `2 writes`.
fn counted(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

fn wide(count: usize) -> u64 {
    count as u64
}

/// Derives the verdict from these facts.
pub(super) fn verdict(facts: &Facts) -> Verdict {
    let mut found: Vec<(Level, String)> = Vec::new();
    let all = facts.instances.len();
    let serving = facts.instances.iter().filter(|one| one.service == Service::Serving).count();
    if serving == 0 {
        let kept = counted(facts.pending, "write waits", "writes wait");
        found.push((Level::Unavailable, format!("No server can be used; {kept} in the journal.")));
    }
    if let JournalSeen::Refusing(why) = &facts.journal {
        let text = format!("The journal cannot be written, so writes are refused; reads go on. It says: {why}");
        found.push((Level::Unavailable, text));
    }
    if facts.halted_lanes > 0 {
        let lanes = counted(wide(facts.halted_lanes), "collection is", "collections are");
        found.push((Level::AtRisk, format!("{lanes} halted after a fault of the edge: see /admin/faults.")));
    }
    if all > 1 && facts.single_copies > 0 {
        let of = counted(wide(facts.collections), "collection", "collections");
        let have = if facts.single_copies == 1 { "has" } else { "have" };
        found.push((Level::AtRisk, format!("{} of {of} {have} no second copy yet.", facts.single_copies)));
    }
    for one in facts.instances.iter().filter(|one| one.service == Service::NotServing) {
        found.push((Level::Reduced, absent(one)));
    }
    if all == 1 {
        found.push((Level::Reduced, "One server is configured: nothing is kept twice.".into()));
    }
    found.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
    let level = found.first().map_or(Level::Safe, |(level, _)| *level);
    let details = found.into_iter().map(|(_, text)| text).collect();
    Verdict { level, headline: headline(level, facts), details }
}

fn absent(one: &Seen) -> String {
    let kept = match one.behind {
        0 => "it has missed nothing so far".to_owned(),
        behind => format!("{} for it in the journal", counted(behind, "write waits", "writes wait")),
    };
    format!("{} is {}: {kept}.", one.name, one.state.replace('_', " "))
}

fn headline(level: Level, facts: &Facts) -> String {
    match level {
        Level::Safe => {
            let copies = if facts.instances.len() == 2 { "both servers" } else { "every server" };
            format!("All data is safe: {copies} in service, every collection kept at least twice")
        }
        Level::Reduced if facts.instances.len() == 1 => "Serving, with one copy of everything".into(),
        Level::Reduced => "Data is safe; there is less to fall back on than usual".into(),
        Level::AtRisk => "Serving, but some data has one copy only".into(),
        Level::Unavailable => "Clients are not fully served; acknowledged writes are safe in the journal".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(name: &str, service: Service) -> Seen {
        let state = if service == Service::Serving { "up" } else { "down" };
        Seen { name: name.to_owned(), state, service, behind: 0 }
    }

    fn two(first: Service, second: Service) -> Facts {
        Facts { instances: vec![seen("a", first), seen("b", second)], collections: 3, ..Facts::default() }
    }

    #[test]
    fn all_is_well_only_when_all_is_well() {
        let well = two(Service::Serving, Service::Serving);
        assert_eq!(verdict(&well).level, Level::Safe);
        assert!(verdict(&well).details.is_empty());
        let worse = [
            (Level::AtRisk, Facts { single_copies: 1, ..well.clone() }),
            (Level::AtRisk, Facts { halted_lanes: 1, ..well.clone() }),
            (
                Level::Unavailable,
                Facts { journal: JournalSeen::Refusing("the disk is full".to_owned()), ..well.clone() },
            ),
            (Level::Reduced, two(Service::Serving, Service::NotServing)),
            (Level::Unavailable, two(Service::NotServing, Service::NotServing)),
            (Level::Reduced, Facts { instances: vec![seen("a", Service::Serving)], ..well }),
        ];
        for (level, facts) in worse {
            assert_eq!(verdict(&facts).level, level, "{facts:?}");
            assert!(!verdict(&facts).details.is_empty(), "{facts:?}");
        }
    }

    #[test]
    fn the_gravest_comes_first_and_numbers_read_well() {
        let mut facts = Facts { single_copies: 2, ..two(Service::Serving, Service::NotServing) };
        facts.instances[1].behind = 1;
        let said = verdict(&facts);
        assert_eq!(said.level, Level::AtRisk);
        assert_eq!(said.details[0], "2 of 3 collections have no second copy yet.");
        assert_eq!(said.details[1], "b is down: 1 write waits for it in the journal.");
    }
}
