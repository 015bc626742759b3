//! Connections to the database: how it is reached and encrypted, and how a transaction is sent over one.
//!
//! Knows no table. What is sent, and what an answer means for the journal, is decided in `commit/`, `query/` and `lease`.

pub(super) mod connect;
pub(super) mod keywords;
pub(super) mod pipeline;
pub(super) mod runtime;
pub(super) mod tls;
pub(super) mod url;
