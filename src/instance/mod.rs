//! One Chroma server as the edge sees it: where it is, whether it lives, and how a request gets there.
//!
//! This room decides an instance's phase (from probes and real traffic), builds the one [`HttpPeer`] that every
//! connection uses, and tells "nothing was sent" from "outcome unknown". It does not decide what is sent, nor
//! what an answer means: `chroma/` classifies, `order/` decides, and the executor reports what it saw through
//! [`Registry::observe`].
//!
//! [`HttpPeer`]: pingora::upstreams::peer::HttpPeer

mod client;
mod health;
mod identify;
mod load;
mod message;
mod options;
mod outages;
mod peer;
mod phase;
mod presence;
mod registry;
mod resolve;
mod sent;
mod target;
mod url;

pub use client::{Client, Vital};
pub use health::Health;
pub use identify::{Found, identify};
pub use load::{Flights, InFlight};
pub use message::{Answer, LONGEST_PATH, Outgoing};
pub use options::{HealthOptions, InstanceOptions, Timeouts};
pub use peer::SetupError;
pub use phase::{Condition, Observation, Phase, Rules};
pub use registry::{Admission, Generation, Registry};
pub use sent::{Licence, Refused, SendError, Sent, Wait};
pub use target::{Target, TargetUrl};
pub use url::{InstanceUrl, Tls, UrlError};
