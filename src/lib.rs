//! One highly available Chroma, made of two or more ordinary Chroma servers. See ARCHITECTURE.md.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod admin;
pub mod audit;
pub mod auth;
pub mod chroma;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coordinator;
pub mod current;
pub mod events;
pub mod executor;
pub mod heal;
pub mod ids;
pub mod instance;
pub mod journal;
pub mod lasting;
pub mod lease;

pub mod metrics;
pub mod order;
pub mod process;
pub mod proof;
pub mod proxy;
pub mod rejoin;
pub mod server;
pub mod traces;
pub mod validate;
pub mod web;
pub mod wire;
