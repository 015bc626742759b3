//! The shared journal: a PostgreSQL database.

mod url;

pub use url::DatabaseUrl;
