//! Conditions, measured as SQLite sees them.

use super::*;
use crate::chroma::scan::scan_read;

fn measured(body: &str) -> impl Fn(Limit) -> u64 {
    let measured = scan_read(body.as_bytes()).unwrap_or_else(|refusal| panic!("{body}: {refusal}"));
    move |limit| measured.get(limit)
}

fn terms(count: usize) -> String {
    let all: Vec<String> = (0..count).map(|n| format!(r#"{{"k":"v{n}"}}"#)).collect();
    format!(r#"{{"$or":[{}]}}"#, all.join(","))
}

#[test]
fn a_chain_nests_from_its_left() {
    let nesting = |condition: &str| measured(&format!(r#"{{"where":{condition}}}"#))(Limit::ConditionTerms);
    assert_eq!(nesting(r#"{"k":1}"#), 1);
    assert_eq!(nesting(&terms(1)), 1);
    assert_eq!(nesting(&terms(988)), 988);
    let many = terms(100);
    let balanced = vec![many.as_str(); 100].join(",");
    assert_eq!(nesting(&format!(r#"{{"$or":[{balanced}]}}"#)), 199);
    // Measured on Chroma: 500 terms with 500 more in the last one are executed; in the first one they are not.
    let tail = vec![r#"{"k":1}"#; 499].join(",");
    let deep = terms(500);
    assert_eq!(nesting(&format!(r#"{{"$or":[{tail},{deep}]}}"#)), 501);
    assert_eq!(nesting(&format!(r#"{{"$or":[{deep},{tail}]}}"#)), 999);
}

#[test]
fn both_fields_count_together_and_every_occurrence() {
    let both = format!(r#"{{"where":{},"where_document":{{"$contains":"x"}}}}"#, terms(10));
    assert_eq!(measured(&both)(Limit::ConditionTerms), 11);
    let twice = format!(r#"{{"where":{},"where":{{"a":1}},"limit":1}}"#, terms(2000));
    assert!(measured(&twice)(Limit::ConditionTerms) >= 2000);
    let escaped = format!(r#"{{"\u0077here":{}}}"#, terms(2000));
    assert_eq!(measured(&escaped)(Limit::ConditionTerms), 2000);
}

#[test]
fn every_comparison_counts_however_they_nest() {
    let comparisons = |body: &str| measured(body)(Limit::ConditionComparisons);
    let balanced = format!(r#"{{"$or":[{}]}}"#, vec![terms(100).as_str(); 30].join(","));
    assert_eq!(comparisons(&format!(r#"{{"where":{balanced}}}"#)), 3000);
    assert_eq!(comparisons(&format!(r#"{{"where":{},"where_document":{{"$contains":"x"}}}}"#, terms(10))), 11);
    assert_eq!(comparisons(r#"{"where":{"k":{"$in":[1,2,3]}}}"#), 1, "its values are counted elsewhere");
    assert_eq!(comparisons(r#"{"where":{"a":1,"b":2},"ids":["x"]}"#), 2);
}

#[test]
fn values_patterns_and_bytes() {
    let found = measured(
        r##"{"ids":["a","b"],"where":{"$and":[{"k":{"$in":["x","yy"]}},{"#document":{"$contains":"abc"}}]}}"##,
    );
    assert_eq!(found(Limit::ConditionValues), 5);
    assert_eq!(found(Limit::ConditionPatternBytes), 3);
    assert_eq!(found(Limit::ConditionDepth), 1);
    let found = measured(r#"{"where":{"tags":{"$contains":"long enough"}},"where_document":{"$not_regex":"(a|b)"}}"#);
    assert_eq!((found(Limit::ConditionPatternBytes), found(Limit::ConditionRegexBytes)), (0, 5));
    assert!(found(Limit::ConditionBytes) >= 20);
    let nested = format!(r#"{{"where":{}{{"k":1}}{}}}"#, r#"{"$and":["#.repeat(30), "]}".repeat(30));
    assert_eq!(measured(&nested)(Limit::ConditionDepth), 30);
}

#[test]
fn regular_expressions_count_together() {
    let work = |body: &str| measured(body)(Limit::ConditionRegexWork);
    let many = vec![r#"{"$regex":"\\w{100}"}"#; 100].join(",");
    assert_eq!(work(&format!(r#"{{"where_document":{{"$or":[{many}]}}}}"#)), 10_000_000);
    assert_eq!(work(r##"{"where":{"#document":{"$not_regex":"abc"}},"where_document":{"$regex":"de"}}"##), 5);
    assert_eq!(work(r#"{"where_document":{"$contains":"abc"}}"#), 0);
}

#[test]
fn what_is_too_deep_to_be_read_is_refused_and_unknown_fields_are_skipped_at_any_depth() {
    let deep = format!(r#"{{"where":{}{{"k":1}}{}}}"#, r#"{"$and":["#.repeat(100_000), "]}".repeat(100_000));
    assert!(scan_read(deep.as_bytes()).is_err());
    let unknown = format!(r#"{{"other":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert!(scan_read(unknown.as_bytes()).is_ok());
    assert!(scan_read(br#"{"where":{"k":1e400}}"#).is_err());
}

#[test]
fn a_query_for_nothing_is_seen_wherever_it_says_so() {
    let none = |body: &str| scan_read(body.as_bytes()).is_ok_and(|measured| measured.asks_for_none());
    assert!(none(r#"{"query_embeddings":[[1]],"n_results":0}"#));
    assert!(none(r#"{"n\u005fresults": 0 ,"query_embeddings":[[1]]}"#));
    for other in [r#"{"n_results":1}"#, r#"{"n_results":null}"#, r#"{"n_results":0.0}"#, r#"{"limit":0}"#, "{}", "[0]"]
    {
        assert!(!none(other), "{other}");
    }
}
