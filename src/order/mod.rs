//! The rules of lanes, progress, doubt, coalescing and freshness (docs/rules.md: R1 to R19).
//!
//! Pure: no I/O, no clock, no tokio, no randomness. Events come in as [`Input`]s, work goes out as [`Effect`]s:
//! `coordinator/` answers clients, `executor/` does the rest and reports back. `tests/simulation` simulates it by seed.

mod admission;
mod batch_size;
mod board;
mod catalog;
mod catalog_change;
mod choose;
mod entry;
mod failures;
mod identity;
mod kind;
mod lane;
mod lane_state;
mod merging;
mod pace;
mod placement;
mod precedence;
mod read_suspects;
mod vouching;
mod wipe;

pub use batch_size::{BatchSize, Memory, Resized};
pub use board::{
    Action, Board, ClientAnswer, Comparison, Consequences, Consistency, CutoverOutcome, CutoverState, DivergenceCause,
    Effect, Evidence, Examination, Health, Input, Intent, Keeping, LaneView, LastCopies, Look, NotReady, ObjectVersion,
    Obstacle, Outcome, Persist, Purpose, Reach, Rebuild, Record, RepairWrites, Repeat, Resolved, RestoredEntry,
    RestoredLane, RestoredProgress, Retry, SendPriority, Submission, Urgency, WaitId, WaitReason,
};
pub use catalog::{Catalog, Collection, DEFAULT_DATABASE, DEFAULT_TENANT, Deletion};
pub use catalog_change::{CatalogChange, Origin};
pub use choose::{Candidate, CandidateHealth, Preference, choose};
pub use entry::{
    AckPolicy, AckState, ClientState, Encoding, Entry, Kind, MAX_RETRIES, Merge, Priority, Profile, Verdict,
};
pub use failures::{Signature, Touched, Traces, Writable};
pub use identity::{Expected, Foreign, Generation, Identity, Marker};
pub use lane::{Dimension, Lag, LaneState};
pub use merging::MergeLimits;
pub use pace::{Pace, recent_mean};
pub use placement::Duty;
pub use precedence::Precedence;
pub use read_suspects::{
    Case, CaseId, CaseState, Permission, ReadClass, ReadKind, ReadSubject, ReadSuspects, Sight, Standing, Trial,
};
pub use vouching::{Company, Conditions, Refusal, RequestClass, Vouching};
pub use wipe::{ForeignPolicy, Proof, Seen, Witness, proof};
