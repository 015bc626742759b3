//! Faults in the accounting: one write too many, one too few, one without an end, one executed twice.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::command::validate;
use super::liar::{Asked, Liar, changed, made_up, without};
use testkit::Cluster;
use testkit::http::Answer;

#[track_caller]
fn assert_found(why: &str, lie: impl Fn(&Asked, &dyn Fn(&Asked) -> Answer) -> Answer + Send + Sync + 'static) {
    let cluster = Cluster::two();
    let liar = Liar::before(&cluster.edge, lie);
    let ran = validate(liar.url(), &["--only", "documents,transactions"]);
    ran.assert_failed("transactions", why);
    assert_eq!(ran.check("documents")["verdict"], "passed", "{ran:#?}");
    assert_eq!(ran.left(), 1, "what passed is removed");
    ran.assert_removable(&[&cluster.client(), &cluster.servers[1].client()]);
}

#[test]
fn a_write_too_many_is_found() {
    // Sent twice on its way: the same content, and one transaction more than there were writes.
    let adds = AtomicUsize::new(0);
    assert_found("21 writes, and the edge has logged 22", move |asked, pass| {
        if asked.is("POST", "/add", "documents") && adds.fetch_add(1, Ordering::Relaxed) == 0 {
            pass(asked);
        }
        pass(asked)
    });
}

#[test]
fn a_write_too_few_is_found() {
    assert_found("and the edge has logged 2", |asked, pass| {
        if !asked.is_page("/transaction/safety/transactions") {
            return pass(asked);
        }
        changed(pass(asked), |body| {
            body["total"] = json!(2);
            body["counts"] = json!({ "COMPLETED": 2 });
        })
    });
}

/// If the edge cannot tell whether a write is journaled, it may be one transaction or none. Neither is a fault.
#[test]
fn a_write_of_which_nobody_knows_is_counted_as_such() {
    let cluster = Cluster::two();
    for journaled in [false, true] {
        let liar = Liar::before(&cluster.edge, move |asked, pass| {
            if !asked.is("POST", "/upsert", "documents") {
                return pass(asked);
            }
            if journaled {
                pass(asked);
            }
            made_up(503, &json!({ "reason": "journal_in_doubt", "message": "perhaps", "recovery": "unknown" }))
        });
        let ran = validate(liar.url(), &["--only", "documents,transactions"]);
        ran.assert_failed("documents", "journal_in_doubt: perhaps");
        assert_eq!(ran.check("transactions")["verdict"], "passed", "{ran:#?}");
    }
}

#[test]
fn a_write_that_names_no_transaction_is_found() {
    assert_found("/add succeeded and named no transaction", |asked, pass| {
        let answer = pass(asked);
        let fifth = asked.json()["ids"] == json!(["counted::5"]);
        if asked.is("POST", "/add", "transactions") && fifth { without(answer, "transaction-id") } else { answer }
    });
}

#[test]
fn a_transaction_without_an_end_is_found() {
    for status in ["ATTEMPTING", "FAILED"] {
        assert_found(&format!("transactions left: 1 {status}"), move |asked, pass| {
            if !asked.is_page("/transaction/safety/transactions") {
                return pass(asked);
            }
            changed(pass(asked), |body| body["counts"][status] = json!(1))
        });
    }
}

#[test]
fn a_repetition_that_is_executed_again_is_found() {
    assert_found("a repeated write was not recognised", |asked, pass| {
        let mut asked = asked.clone();
        asked.headers.retain(|(name, _)| name != "transaction-id");
        pass(&asked)
    });
}

#[test]
fn a_refused_write_with_an_effect_is_found() {
    assert_found("records that a refused write left: expected 0, found 1", |asked, pass| {
        if asked.is("POST", "/get", "transactions") && asked.json()["ids"] == json!(["refused"]) {
            let mut asked = asked.clone();
            asked.body = json!({ "ids": ["counted::3"], "include": asked.json()["include"] }).to_string().into_bytes();
            return pass(&asked);
        }
        pass(asked)
    });
}

#[test]
fn a_recovery_that_does_not_run_is_found() {
    assert_found("the transaction service does not run", |asked, pass| {
        match asked.is_page("/transaction/safety/status") {
            true => made_up(200, &json!({ "available": true, "recovery_service_running": false })),
            false => pass(asked),
        }
    });
}
