//! The table of roles in the code and the one in docs/security.md are the same.

use std::collections::BTreeSet;

use chroma_edge::auth::{Need, PAGES};

use crate::none;
use crate::source::read;

fn shown(need: Need) -> String {
    match need {
        Need::Nothing => "nothing".to_owned(),
        Need::Role(role) => role.to_string(),
        Need::Whole(role) => format!("{role}, whole"),
        Need::Shown(role) => format!("{role}, whole; open where nobody is asked"),
    }
}

#[test]
fn the_document_shows_the_table_of_the_code() {
    let text = read("docs/security.md");
    let begins = ["| GET |", "| POST |", "| PUT |", "| PATCH |", "| DELETE |"];
    let told: BTreeSet<String> =
        text.lines().filter(|line| begins.iter().any(|begin| line.starts_with(begin))).map(str::to_owned).collect();
    let row = |page: &chroma_edge::auth::Page| format!("| {} | `{}` | {} |", page.method, page.path, shown(page.need));
    let known: BTreeSet<String> = PAGES.iter().map(row).collect();
    assert_eq!(known.len(), PAGES.len(), "a row is there twice");
    none("a row that only one of them has", told.symmetric_difference(&known).cloned().collect());
}
