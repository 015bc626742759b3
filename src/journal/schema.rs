//! Compares a store's history of migrations with the migrations of this binary. The same for both stores.

use std::collections::BTreeMap;

use refinery::Migration;

/// Returns one line for each migration that was not applied, or that was a different one when it was applied. `applied`
/// is name and checksum by version.
pub(super) fn compare_history(known: &[Migration], applied: &BTreeMap<i64, (String, String)>) -> Vec<String> {
    let mut known: Vec<&Migration> = known.iter().collect();
    known.sort_by_key(|migration| migration.version());
    let line = |migration: &Migration| match applied.get(&i64::from(migration.version())) {
        None => Some(format!("{migration} has not been applied")),
        Some((name, checksum)) if name != migration.name() || *checksum != migration.checksum().to_string() => {
            Some(format!("{migration} is not what was applied as V{}__{name}", migration.version()))
        }
        Some(_) => None,
    };
    known.into_iter().filter_map(line).collect()
}
