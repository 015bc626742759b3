//! What the tests share: real Chroma and PostgreSQL servers, the real edge, a client with full control over its bytes,
//! links and relays that fail on demand, and the checker of what clients saw and servers hold.
//!
//! It uses the edge as a client does, never its code. It is only a development dependency: nothing of it is released.
//!
//! `CHROMA_EDGE_CACHE` (default `.cache` in the repository) holds what `make setup` installs: `venv/` (a venv with the
//! server), `client/` (a venv with the Python client), `js/` (the npm client).

pub mod authority;
pub mod checker;
pub mod chroma;
pub mod chroma_model;
pub mod cluster;
pub mod collector;
pub mod commit_link;
pub mod content;
pub mod conversation;
pub mod edge;
pub mod events;
pub mod fold;
pub mod http;
pub mod link;
pub mod model;
pub mod ops;
pub mod place;
pub mod postgres;
pub mod random;
pub mod relay;
pub mod scripts;
pub mod shared;
pub mod supervised;
pub mod trap;
pub mod webhook;
pub mod workload;

pub use chroma::ChromaServer;
pub use cluster::Cluster;
pub use content::Content;
pub use edge::{Builder, Edge};
pub use relay::Relay;
pub use supervised::Supervised;
