//! One highly available Chroma, made of two or more ordinary Chroma servers. See ARCHITECTURE.md.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod config;
pub mod ids;
pub mod instance;
pub mod journal;
pub mod order;
