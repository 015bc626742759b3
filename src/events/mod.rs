//! Who is told of the journal's events, and when: streams of server-sent events, and a webhook.
//!
//! The order of events, and which there are, is the journal's (`journal/events.rs`). Here nothing is kept of them: whoever
//! is told has a place in that order and asks the journal for what comes after it, so that the slowest listener costs
//! no memory and none misses anything. How a transaction is shown is decided by the pages ([`Show`]).

mod hub;
mod message;
mod stream;
#[cfg(test)]
mod tests;
mod webhook;

pub use self::hub::{Hub, Subscription};
pub use self::message::{Show, name_of};
pub use self::stream::{EventStream, Opened, Resume};
pub use self::webhook::{Secret, Webhook, WebhookGauges, WebhookOptions};

/// Every event's name, in the order in which a transaction can have them.
pub const NAMES: [&str; 4] =
    ["transaction:timing_gap", "transaction:completed", "transaction:recovered", "transaction:abandoned"];
