//! Faults in health, in the catalog and under many concurrent creations: each is found by its check, for its own
//! reason.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::command::{Ran, validate};
use super::liar::{Asked, Liar, changed, made_up, without};
use testkit::Cluster;
use testkit::http::{Answer, DEFAULT};

#[track_caller]
fn found(
    check: &str,
    why: &str,
    lie: impl Fn(&Asked, &dyn Fn(&Asked) -> Answer) -> Answer + Send + Sync + 'static,
) -> (Ran, Cluster) {
    let cluster = Cluster::two();
    let liar = Liar::before(&cluster.edge, lie);
    let ran = validate(liar.url(), &["--only", check]);
    ran.assert_failed(check, why);
    if check != "health" {
        ran.assert_removable(&[&cluster.client(), &cluster.servers[0].client()]);
    }
    (ran, cluster)
}

#[test]
fn health_finds_whatever_the_edge_says_of_itself() {
    let cases = [
        ("/status", "/journal/lease", json!("ended"), "does not hold its journal"),
        ("/status", "/journal_held_back_by", json!("replica"), "kept for replica"),
        ("/status", "/diverged", json!([{ "collection_name": "c", "instance": "replica" }]), "c is diverged on"),
        ("/health", "/status", json!("degraded"), "with status \\\"degraded\\\""),
        ("/wal/status", "/available", json!(false), "the journal cannot be read"),
        ("/api/v2/heartbeat", "/nanosecond heartbeat", json!("late"), "no heartbeat of Chroma's"),
    ];
    for (page, part, value, why) in cases {
        found("health", why, move |asked, pass| {
            let answer = pass(asked);
            match asked.is_page(page) {
                true => changed(answer, |body| *body.pointer_mut(part).expect("a part of the page") = value.clone()),
                false => answer,
            }
        });
    }
}

/// Whatever was checked, and with any result.
#[test]
fn what_is_lost_during_the_run_is_found_at_its_end() {
    let cases: [(&str, serde_json::Value, &str); 4] = [
        ("/instances/1/healthy", json!(false), "at the end of the run: replica ("),
        ("/instances/1/name", json!("other"), "the edge does not know replica any more"),
        (
            "/diverged",
            json!([{ "collection_name": "c", "instance": "replica" }]),
            "at the end of the run: c is diverged",
        ),
        ("/role", json!("standby"), "at the end of the run: this edge stands by"),
    ];
    for (checks, place) in [("health", 0), ("documents", 1)] {
        for (part, value, why) in cases.clone() {
            let cluster = Cluster::two();
            let looks = AtomicUsize::new(0);
            let liar = Liar::before(&cluster.edge, move |asked, pass| {
                let answer = pass(asked);
                if !asked.is_page("/status") || looks.fetch_add(1, Ordering::Relaxed) == 0 {
                    return answer;
                }
                changed(answer, |body| *body.pointer_mut(part).expect("a part of the page") = value.clone())
            });
            let ran = validate(liar.url(), &["--only", checks]);
            ran.assert_failed("health", why);
            assert_eq!(ran.report["checks"][place]["check"], "health", "{ran:#?}");
            assert_eq!(ran.report["passed"], false, "{ran:#?}");
        }
    }
}

#[test]
fn health_finds_a_deployment_of_one() {
    found("health", "there is only one instance", |asked, pass| {
        let answer = pass(asked);
        match asked.is_page("/status") {
            true => changed(answer, |body| body["instances"].as_array_mut().expect("instances").truncate(1)),
            false => answer,
        }
    });
}

#[test]
fn collections_finds_a_name_that_is_given_twice() {
    let creations = AtomicUsize::new(0);
    found("collections", "a second creation of one name succeeded", move |asked, pass| {
        let again = asked.method == "POST" && creations.fetch_add(1, Ordering::Relaxed) == 1;
        let id = "00000000-0000-4000-8000-000000000000";
        if again { made_up(200, &json!({ "id": id, "name": asked.json()["name"] })) } else { pass(asked) }
    });
}

#[test]
fn an_answer_that_shows_somebody_elses_collection_is_never_written_to() {
    let (ran, cluster) = found("documents", "something else than the created collection", |asked, pass| {
        let answer = pass(asked);
        let creation = asked.method == "POST" && asked.path.ends_with("/collections");
        if creation { changed(answer, |body| body["name"] = json!("customers")) } else { answer }
    });
    assert_eq!(ran.left(), 1, "the one that was created all the same");
    assert_eq!(
        cluster.client().get("/wal/status").expect(200).json()["transactions"],
        2,
        "its creation and its removal"
    );
}

#[test]
fn collections_finds_a_mapping_that_is_not_complete() {
    found("collections", "its mapping is not complete", |asked, pass| {
        let answer = pass(asked);
        match asked.is_page("/collection/mappings") {
            true => changed(answer, |body| {
                let all = body["mappings"].as_array_mut().expect("mappings");
                all.iter_mut().for_each(|one| one["complete"] = json!(false));
            }),
            false => answer,
        }
    });
}

#[test]
fn collections_finds_one_id_on_two_instances() {
    found("collections", "two instances are said to have it under one id", |asked, pass| {
        let answer = pass(asked);
        match asked.is_page("/collection/mappings") {
            true => changed(answer, |body| {
                let one = &mut body["mappings"][0];
                one["instances"][1]["collection_id"] = one["instances"][0]["collection_id"].clone();
            }),
            false => answer,
        }
    });
}

#[test]
fn collections_finds_what_the_list_hides_and_a_removal_that_never_was() {
    found("collections", "the list shows it 0 times", |asked, pass| {
        let listing = asked.method == "GET" && asked.is_page(&format!("{DEFAULT}/collections"));
        if listing { made_up(200, &json!([])) } else { pass(asked) }
    });
    let removals = AtomicUsize::new(0);
    found("collections", "succeeded, and it is still there", move |asked, pass| {
        // The second one is the operator's.
        let removal = asked.method == "DELETE" && removals.fetch_add(1, Ordering::Relaxed) == 0;
        if removal { made_up(200, &json!({})) } else { pass(asked) }
    });
}

#[test]
fn concurrency_finds_a_creation_that_is_not_logged() {
    let (ran, _cluster) = found("concurrency", "was created and not logged", |asked, pass| {
        let answer = pass(asked);
        match asked.json()["name"].as_str() {
            Some(name) if name.ends_with("_17") => without(answer, "transaction-id"),
            _ => answer,
        }
    });
    assert_eq!(ran.check("concurrency")["figures"]["logged"], 29);
    assert_eq!(ran.left(), 30);
}

#[test]
fn concurrency_finds_a_log_that_does_not_have_it() {
    found("concurrency", "is not logged: GET /transaction/safety/transaction/", |asked, pass| {
        let logged = asked.path.starts_with("/transaction/safety/transaction/");
        let unknown = json!({ "error": "NotFound", "message": "no", "reason": "unknown_transaction" });
        if logged { made_up(404, &unknown) } else { pass(asked) }
    });
}

#[test]
fn concurrency_finds_one_that_is_refused_and_one_that_cannot_be_reached() {
    found("concurrency", "answered 422 (strange: come again)", |asked, pass| match asked.json()["name"].as_str() {
        Some(name) if name.ends_with("_3") => made_up(422, &json!({ "reason": "strange", "message": "come again" })),
        _ => pass(asked),
    });
    found("concurrency", "cannot be used: POST", |asked, pass| {
        let lost =
            asked.is("POST", "/add", "concurrency") && asked.collection.as_ref().is_some_and(|c| c.ends_with("_9"));
        if lost { made_up(404, &json!({ "message": "Collection does not exist" })) } else { pass(asked) }
    });
}
