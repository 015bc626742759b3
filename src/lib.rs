//! One highly available Chroma, made of two or more ordinary Chroma servers. See ARCHITECTURE.md.
#![forbid(unsafe_code)]

pub mod chroma;
pub mod clock;
pub mod ids;
pub mod journal;
pub mod order;
