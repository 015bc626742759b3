//! Carries out what `order/` decides: sends to instances, makes outcomes durable, answers waiting clients,
//! brings instances back.
//!
//! It decides no order and no verdict: it builds the requests, classifies the answers with `chroma/`, and
//! reports to the [`Board`](crate::order::Board). Start reading at [`core`].

mod adopt;
mod attempt;
mod bodies;
mod catalog;
mod compare;
mod core;
mod examine;
mod facts;
mod gate;
mod inspect;
mod intent;
mod limited;
mod overruns;
mod pacing;
mod records;
mod recovery;
mod restore;
mod runner;
mod tickets;
mod warmed;

pub use self::core::{Core, CoreOptions, WorkQueue};
pub use self::inspect::Inspector;
pub use self::overruns::Overruns;
pub use self::recovery::{FirstLook, Recovery, RecoveryOptions};
pub use self::restore::{Restored, restore};
pub use self::runner::{Runner, RunnerOptions};
pub use self::tickets::{Settlement, Ticket};
