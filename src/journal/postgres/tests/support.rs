//! A journal on a PostgreSQL server of its own.

use std::sync::Arc;
use std::time::Duration;

use testkit::postgres::Postgres;

use crate::journal::contract::Bench;
use crate::journal::postgres::{DatabaseUrl, PostgresOptions, PostgresStore};
use crate::journal::{Claim, Leadership, LeadershipError, Store};

/// The contract is not about time limits, and machines are busy.
const PATIENT: Duration = Duration::from_secs(60);

/// The default options, under this name.
pub fn options(name: &str) -> PostgresOptions {
    PostgresOptions { name: name.to_owned(), ..PostgresOptions::default() }
}

/// A store that holds no journal yet.
pub fn store(url: &str, options: PostgresOptions) -> PostgresStore {
    PostgresStore::open(&DatabaseUrl::parse(url).unwrap(), options).unwrap()
}

/// Claims the journal, and repeats the claim when a busy machine makes the database slow, as an edge does.
pub async fn claimed(store: &PostgresStore) -> Result<Claim, LeadershipError> {
    const ATTEMPTS: usize = 20;
    for _ in 1..ATTEMPTS {
        match store.claim().await {
            Err(LeadershipError::Unavailable(_)) => {}
            end => return end,
        }
    }
    store.claim().await
}

/// A store that holds the journal.
pub async fn holder(url: &str, name: &str) -> PostgresStore {
    let store = store(url, options(name));
    match claimed(&store).await {
        Ok(Claim::Granted { .. }) => store,
        other => panic!("{other:?}"),
    }
}

impl Bench for Postgres {
    fn open(&self) -> Arc<dyn Store> {
        let store = store(
            &self.url(),
            PostgresOptions { commit: PATIENT, read: PATIENT, term: PATIENT, ..options("the contract") },
        );
        let parts = Arc::clone(&store.parts);
        let claim = store.thread.finish(async move { parts.lease.claim().await });
        assert!(matches!(claim, Some(Ok(Claim::Granted { .. }))), "{claim:?}");
        Arc::new(store)
    }
}
