//! The ends and starts of edges: killed and restarted, or replaced by another one.

use chroma_edge::ids::LaneId;
use chroma_edge::order::{Action, Effect, Persist, Reach};

use crate::instance::Instance;
use crate::journal::Commit;
use crate::requests::Request;
use crate::workload;
use crate::world::{World, name};

/// Whether another edge is about to take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Succession {
    None,
    Due,
}

/// The longest settle time of a takeover, in steps.
const SETTLE: usize = 120;

impl World {
    pub fn edge_ends(&mut self) {
        if self.rng.per_mille(self.temper.takeovers) {
            self.succession = Succession::Due;
        } else {
            self.crash();
        }
    }

    /// Lets another edge take over at the worst moment, while a request is under way.
    pub fn succeed(&mut self) {
        if self.succession == Succession::Due && self.requests.iter().any(Request::is_not_answered) {
            self.succession = Succession::None;
            self.takeover();
        }
    }

    /// Kills and restarts the edge: only durable state remains.
    pub fn crash(&mut self) {
        self.counters.count("crash of the edge");
        self.note(|| "the edge crashes".to_owned());
        let under_way = std::mem::take(&mut self.requests);
        let left = self.now;
        let left = under_way.into_iter().filter(Request::may_still_execute).map(|request| Request { left, ..request });
        self.abandoned.extend(left);
        self.repairing.shell_forgets(self.now, false);
        self.start();
    }

    /// Lets another edge take the journal. What the old edge handed over in time may be executed until quiescence. What
    /// it is in the middle of, it may send whenever it is continued. Its commits are refused.
    fn takeover(&mut self) {
        self.counters.count("takeover");
        self.note(|| "another edge takes over".to_owned());
        for request in std::mem::take(&mut self.requests) {
            if !request.is_not_answered() {
                continue;
            }
            // One of the instances stays as the catalog knows it.
            let may_be_late = request.lane != chroma_edge::ids::LaneId::Catalog || request.instance == self.unlucky();
            match self.rng.index(5) {
                0 => self.abandoned.push(Request { left: self.now, ..request }),
                1..4 if may_be_late => self.leave_half_sent(request),
                _ => {}
            }
        }
        self.repairing.shell_forgets(self.now, true);
        self.lease_begins = self.now + self.rng.index(SETTLE) as u64;
        self.start();
    }

    fn start(&mut self) {
        self.account.cut(self.now, "the edge is gone");
        self.waits.clear();
        self.examinations.clear();
        self.failures.shell_forgets();
        self.inspections.clear();
        self.notices.clear();
        self.compared.clear();
        self.rebuilding.shell_forgets();
        self.marking.shell_forgets();
        self.holding.shell_forgets(self.journal.last);
        self.placing.shell_forgets(self.instances.len());
        self.handled_late_writes.clear();
        self.facts.new_epoch();
        let rows = &self.journal.rows;
        self.facts.withdrawn.retain(|seq| rows[seq].verdict.is_some());
        self.reach = vec![Reach::Away; self.instances.len()];
        let (board, effects) = self.journal.restart();
        self.board = board;
        self.board_forgets();
        self.condemned_is_forgotten();
        self.deaths_are_forgotten();
        if effects.iter().any(|effect| matches!(effect, Effect::Perform(Action::AwaitQuiescence { .. }))) {
            self.counters.count("restored with doubt");
        }
        if effects.iter().any(|effect| matches!(effect, Effect::Persist(Persist::Divergence { .. }))) {
            self.counters.count("below the floor");
        }
        self.take(effects);
        self.drop_what_was_acknowledged();
    }

    /// Drops a collection with a write that was acknowledged, but whose outcome was not durable when the edge died. No
    /// random number is drawn for it, so seeds without such a write stay the same.
    fn drop_what_was_acknowledged(&mut self) {
        let open =
            self.journal.rows.values().filter(|row| row.verdict.is_none() && self.account.acknowledged(row.number));
        let mut collections = open.filter_map(|row| match row.lane {
            LaneId::Records(collection) => self.journal.catalog.get(collection),
            LaneId::Catalog => None,
        });
        if let Some(collection) = collections.next_back()
            && self.now.is_multiple_of(2)
        {
            let mut row = workload::drop_of(collection.scope.clone(), collection.name.clone());
            row.number = self.account.begin(self.now);
            self.journal.queue.push_back(Commit::Append(row));
        }
    }

    /// Adds a blank instance to the configuration, which takes a restart of the edge.
    pub fn configure_another(&mut self) {
        if self.instances.len() >= 4 || !self.rng.per_mille(150) {
            return;
        }
        let index = self.instances.len();
        self.note(|| format!("instance {index} is configured"));
        self.journal.configure(name(index));
        self.instances.push(Instance::new(index));
        self.snapshots.push(None);
        self.crash();
    }
}
