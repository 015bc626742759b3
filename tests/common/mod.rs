//! What every end-to-end test stands on: real Chroma servers, the real edge, a client with full control over
//! its bytes, and ways to read and compare what the servers hold. Nothing here knows the edge's code.
//!
//! `CHROMA_EDGE_CACHE` (default `.cache` in the repository) holds what `make setup` installs:
//! `venv/` (a venv with the server), `client/` (a venv with the Python client), `js/` (the npm client).

#[cfg(feature = "tls")]
pub mod authority;
pub mod chroma;
pub mod cluster;
pub mod content;
pub mod conversation;
pub mod edge;
pub mod events;
pub mod fold;
pub mod http;
#[allow(dead_code, reason = "the store's own tests, in src/journal/postgres, use the rest")]
pub mod link;
pub mod model;
pub mod ops;
pub mod place;
#[allow(dead_code, reason = "the store's own tests, in src/journal/postgres, use the rest")]
pub mod postgres;
pub mod random;
pub mod relay;
pub mod scripts;
pub mod shared;
pub mod webhook;
pub mod workload;

pub use chroma::ChromaServer;
pub use cluster::Cluster;
pub use content::Content;
pub use edge::Edge;
pub use relay::Relay;
