//! What one write may cost in servers' lives (G11): one server, which dies of it at most twice. A write that is vouched
//! for is executed elsewhere at once. It may kill two servers, and one of them twice.
//!
//! Decides from the deaths that the run recorded. The run decides which deaths an edge could know of.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Death, Semantics, Vouching};
use super::index::Index;
use super::verdict::{Breach, Violation};

/// The most deaths that one write may cause, and the most servers that may die of it.
const fn most(vouching: Vouching) -> (usize, usize) {
    match vouching {
        Vouching::Unvouched => (2, 1),
        Vouching::Vouched => (3, 2),
    }
}

pub fn check<M: Semantics>(index: &Index<'_, M>) -> Vec<Violation> {
    let mut writes: BTreeMap<&str, Vec<&Death>> = BTreeMap::new();
    for death in &index.run.deaths {
        writes.entry(&death.token).or_default().push(death);
    }
    writes.into_iter().filter_map(|(token, deaths)| judge(index, token, &deaths)).collect()
}

fn judge<M: Semantics>(index: &Index<'_, M>, token: &str, deaths: &[&Death]) -> Option<Violation> {
    let vouching = deaths.first()?.vouching;
    let (most_deaths, most_servers) = most(vouching);
    let died: Vec<&str> = deaths.iter().map(|death| death.instance.as_str()).collect();
    let servers = died.iter().collect::<BTreeSet<_>>().len();
    if died.len() <= most_deaths && servers <= most_servers {
        return None;
    }
    let what = format!("{vouching:?}, and {} deaths of {servers} servers: {died:?}", died.len());
    let entry = index.entries.get(token).and_then(|entries| entries.first());
    Some(match entry {
        Some(entry) => index.about(Breach::TooManyDeaths, entry, what),
        None => Violation { token: Some(token.to_owned()), ..Violation::new(Breach::TooManyDeaths, what) },
    })
}
