//! The coordinator: owns the board, takes what becomes durable, answers waiting clients, and hands every other effect
//! to the executor.
//!
//! It decides no order and no verdict (`order/` does), and it sends nothing (`executor/` does). Start reading at
//! [`core`].

pub mod adoption;
mod core;
mod demands;
mod differences;
mod discovery;
mod facts;
mod fail_stop;
mod handed_on;
mod indexes;
pub mod intent;
mod late_writes;
mod markers;
mod placements;
mod placing;
mod repairs;
mod restore;
mod servers;
mod sync_numbers;
mod tickets;

pub(crate) use self::core::Work;
pub use self::core::{BoardView, Core, CoreParts, PanicGuard, RequestSink, Withdrawal, WorkQueue};
pub use self::demands::{CopyDoubts, Inspections};
pub use self::differences::{Apart, Difference, Differences};
pub use self::discovery::Discovery;
pub use self::facts::facts_of;
pub use self::fail_stop::EXIT_CODE;
pub use self::indexes::Indexes;
pub use self::late_writes::LateWrites;
pub(crate) use self::markers::Carried;
pub use self::markers::{ForeignStage, Markers};
pub use self::placements::{Drain, DrainStage, Insistence, Placements, Span, Sync};
pub use self::repairs::{Before, Repairs};
pub use self::restore::{Restored, rebuild, restore};
pub use self::servers::{DocumentHash, Servers, Support};
pub use self::sync_numbers::{SyncCounts, SyncNumbers};
pub use self::tickets::{Settlement, Ticket};
