//! The instance room against real sockets: small servers that misbehave in one way each, a TLS end, and a real Chroma
//! server that is stopped, continued and killed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panic")]

mod abandoning;
mod answers;
mod health;
mod keeping;
mod leases;
mod opening;
mod server;
#[cfg(feature = "tls")]
mod tls;
