//! Connections to the database: how it is reached and encrypted, and how a transaction is sent over one.
//!
//! Contains nothing about tables. `commit/`, `query/` and `lease` decide what is sent, and what an answer means for the
//! journal.

pub(super) mod connect;
pub(super) mod keywords;
pub(super) mod pipeline;
pub(super) mod runtime;
pub(super) mod tls;
pub(super) mod url;
