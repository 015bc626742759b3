//! The words that docs/lexicon.md replaces are not used again: not in names, comments, log lines or documents.
//!
//! Checks whole words, including the parts of a name (`left_word`, `LeftWord`). Does not judge prose.

use crate::none;
use crate::source::{files_below, read};

/// A word, its replacement, and where it keeps an ordinary meaning.
struct Replaced {
    word: &'static str,
    by: &'static str,
    except: &'static [&'static str],
}

const fn replaced(word: &'static str, by: &'static str, except: &'static [&'static str]) -> Replaced {
    Replaced { word, by, except }
}

const REPLACED: &[Replaced] = &[
    replaced("attendance", "client state", &[]),
    replaced("attended", "a client waits", &[]),
    replaced("fullness", "capacity", &[]),
    replaced("heed", "act upon", &[]),
    replaced("heeded", "acted upon", &[]),
    replaced("keeper", "lease renewer", &[]),
    replaced("notebook", "session log", &[]),
    replaced("overrun", "late write", &[]),
    replaced("overruns", "late writes", &[]),
    replaced("pulse", "prober", &[]),
    replaced("reign", "epoch", &[]),
    replaced("rested", "waited, or quiesced", &[]),
    replaced("spoil", "diverge, or corrupt", &[]),
    replaced("strays", "late requests", &[]),
    replaced("suspicion", "late write", &[]),
    replaced("suspicions", "late writes", &[]),
    replaced("taint", "divergence", &[]),
    replaced("taints", "divergences", &[]),
    replaced("tenancy", "leadership", &[]),
    replaced("tenure", "leadership", &[]),
    replaced("unmarked", "not durable", &[]),
];

/// Names of several words.
const PHRASES: &[(&str, &str)] = &[
    ("await_calm", "await_quiescence"),
    ("behind_us", "scan_from"),
    ("last_words", "what is sent at the end, by its name"),
    ("perhaps_applied", "maybe_acknowledged"),
    ("refuse_deadly", "reject_crashing"),
];

/// Returns the words of a line in lower case: `leftWord`, `LeftWord` and `left_word` are two words each.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut previous_is_lower = false;
    for letter in line.chars() {
        let begins = letter.is_ascii_uppercase() && previous_is_lower;
        if begins || !letter.is_ascii_alphanumeric() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter.is_ascii_alphanumeric()) {
            word.push(letter.to_ascii_lowercase());
        }
        previous_is_lower = letter.is_ascii_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the words of a line that the lexicon replaces.
fn replaced_in(path: &str, line: &str) -> Vec<String> {
    let words = words(line);
    let mut found = Vec::new();
    for Replaced { word, by, except } in REPLACED {
        if words.iter().any(|one| one == word) && !except.iter().any(|place| path.starts_with(place)) {
            found.push(format!("{word}: say {by}"));
        }
    }
    let joined = format!("_{}_", words.join("_"));
    for (phrase, by) in PHRASES {
        if joined.contains(&format!("_{phrase}_")) {
            found.push(format!("{phrase}: say {by}"));
        }
    }
    found
}

#[test]
fn no_word_that_the_lexicon_replaces_is_used() {
    let mut paths: Vec<String> =
        ["src", "tests", "testkit", "benches"].iter().flat_map(|folder| files_below(folder, &[".rs", ".py"])).collect();
    paths.extend(files_below("docs", &[".md"]));
    paths.extend(["ARCHITECTURE.md".to_owned(), "README.md".to_owned()]);
    paths.retain(|path| path != "tests/tidy/words.rs");
    let mut found = Vec::new();
    for path in &paths {
        for (number, line) in read(path).lines().enumerate() {
            found.extend(replaced_in(path, line).into_iter().map(|what| format!("{path}:{}: {what}", number + 1)));
        }
    }
    none("a word that the lexicon replaces", found);
}

#[test]
fn a_replaced_word_is_found_in_a_name() {
    for line in ["fn taints_end()", "struct Taints;", "// It has taints.", "let perhapsApplied = 1;"] {
        assert_eq!(replaced_in("src/x.rs", line).len(), 1, "{line}");
    }
    assert_eq!(replaced_in("src/x.rs", "certainty, astray"), Vec::<String>::new());
}
