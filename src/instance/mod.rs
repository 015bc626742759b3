//! One Chroma server as the edge sees it: its address, whether it is alive, and how a request gets there.
//!
//! This room decides an instance's phase (from probes and real traffic), builds the one [`HttpPeer`] that every
//! connection uses, and tells "nothing was sent" from "outcome unknown". It does not decide what is sent or what an
//! answer means: `chroma/` classifies, `order/` decides, and the executor reports its observations through
//! [`Registry::observe`].
//!
//! [`HttpPeer`]: pingora::upstreams::peer::HttpPeer

mod avoided;
mod breaker;
mod certificates;
mod client;
mod counting;
mod health;
mod identify;
mod incoming;
mod load;
mod message;
mod options;
mod outages;
mod peer;
mod phase;
mod presence;
mod readdress;
mod reads;
mod registry;
mod resolve;
mod sent;
mod target;
mod traffic;
mod url;
mod words;

pub use breaker::{BreakerRules, BreakerState, ReadEnd};
pub use certificates::FileMistake;
pub use client::{Client, Repeat, Vital};
pub use health::Health;
pub use identify::{Found, identify};
pub use incoming::{Cause, Incoming, Unanswered};
pub use load::{Flights, InFlight};
pub use message::{Answer, LONGEST_PATH, Outgoing, end_to_end};
pub use options::{Contents, HealthOptions, InstanceOptions, OwnCertificate, Timeouts, Trust, UpstreamHeaders};
pub use peer::SetupError;
pub use phase::{Condition, Observation, Phase, Rules};
pub use reads::BreakerReport;
pub use registry::{Admission, Generation, Registry};
pub use sent::{Licence, Refused, SendError, Sent, Wait};
pub use target::{Target, TargetUrl};
pub use traffic::{Ended, Pooled, Traffic, TrafficNumbers};
pub use url::{InstanceUrl, Tls, UrlError};
