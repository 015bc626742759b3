//! How to reach the database: libpq's URL or key-value form.
//!
//! The password never leaves this type but for the connection: it is shown nowhere.

use std::fmt;

/// A connection string that parses.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    config: tokio_postgres::Config,
}

impl DatabaseUrl {
    /// The connection string in libpq's URL or key-value form.
    ///
    /// # Errors
    /// What is wrong with it, without quoting it.
    pub fn parse(text: &str) -> Result<DatabaseUrl, String> {
        let config: tokio_postgres::Config = text.parse().map_err(|error: tokio_postgres::Error| error.to_string())?;
        Ok(DatabaseUrl { config })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<String> = self.config.get_hosts().iter().map(|host| format!("{host:?}")).collect();
        write!(f, "postgres at {}", hosts.join(","))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
