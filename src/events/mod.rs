//! Delivers the journal's events: streams of server-sent events, and a webhook.
//!
//! The journal (`journal/events.rs`) decides which events exist, and their order. This room buffers nothing. Each
//! consumer has a position in that order and asks the journal for the events after it, so a slow consumer costs no
//! memory and misses nothing. The pages decide how to show a transaction ([`Show`]).

mod hub;
mod message;
mod stream;
#[cfg(test)]
mod tests;
mod webhook;

pub use self::hub::{Hub, Subscription};
pub use self::message::{Show, name_of};
pub use self::stream::{Audience, EventStream, Opened, Resume};
pub use self::webhook::{Secret, Webhook, WebhookGauges, WebhookOptions};

/// Every event's name, in the order in which they can occur for a transaction.
pub const NAMES: [&str; 4] =
    ["transaction:timing_gap", "transaction:completed", "transaction:recovered", "transaction:abandoned"];
