//! The table, row by row, with the literal bodies of a real server (Chroma 1.5.9).

use super::*;

const ADD: Call = Call::Write(Kind::Add);
const DELETE: Call = Call::Write(Kind::Delete);
const PUT: Call = Call::Write(Kind::UpdateCollection);
const CREATE: Call = Call::Write(Kind::CreateCollection);
const DROP: Call = Call::Write(Kind::DeleteCollection);
const DROP_DATABASE: Call = Call::Write(Kind::DeleteDatabase);
const RESET: Call = Call::Write(Kind::Reset);

const MISSING_BY_ID: &str =
    r#"{"error":"NotFoundError","message":"Collection [11111111-1111-1111-1111-111111111111] does not exist."}"#;
const MISSING_BY_NAME: &str = r#"{"error":"NotFoundError","message":"Collection [nope] does not exist"}"#;
const LOCKED: &str = r#"{"error":"InternalError","message":"Database error: error returned from database: (code: 5) database is locked"}"#;
const VARIABLES: &str = r#"{"error":"InternalError","message":"Error executing plan: Internal error: error returned from database: (code: 1) too many SQL variables"}"#;

fn check(rows: &[(Call, u16, &str, Class)]) {
    for (call, status, body, class) in rows {
        assert_eq!(classify(*call, *status, body.as_bytes()), *class, "{call:?} {status} {body}");
    }
}

#[test]
fn applied() {
    check(&[
        (ADD, 201, "{}", Class::Applied),
        (DELETE, 200, r#"{"deleted":1}"#, Class::Applied),
        (RESET, 200, "true", Class::Applied),
    ]);
}

#[test]
fn definite_refusals() {
    let unique = r#"{"error":"InternalError","message":"Database error: error returned from database: (code: 2067) UNIQUE constraint failed: collections.name, collections.database_id"}"#;
    check(&[
        (
            ADD,
            400,
            r#"{"error":"InvalidArgumentError","message":"Collection expecting embedding with dimension of 2, got 3"}"#,
            Class::Rejected,
        ),
        (
            CREATE,
            400,
            r#"{"error":"InvalidArgumentError","message":"Database [nope] does not exist"}"#,
            Class::Rejected,
        ),
        (CREATE, 409, r#"{"error":"ChromaError","message":"Collection [alpha] already exists"}"#, Class::Rejected),
        (
            ADD,
            415,
            r#"{"error":"ChromaError","message":"Expected request with `Content-Type: application/json`"}"#,
            Class::Rejected,
        ),
        (
            ADD,
            422,
            r#"{"error":"ChromaError","message":"Failed to deserialize the JSON body into the target type: missing field `ids` at line 1 column 2"}"#,
            Class::Rejected,
        ),
        (
            ADD,
            501,
            r#"{"error":"ChromaError","message":"Unimplemented: Sparse vector is not supported for local chroma: k"}"#,
            Class::Rejected,
        ),
        (PUT, 500, unique, Class::Rejected),
        (DROP, 404, MISSING_BY_NAME, Class::Rejected),
        (DROP_DATABASE, 404, r#"{"error":"NotFoundError","message":"Database [nope] not found"}"#, Class::Rejected),
        (Call::CatalogRead, 404, r#"{"error":"NotFoundError","message":"Tenant [nope] not found"}"#, Class::Rejected),
        (
            Call::RecordRead,
            404,
            r#"{"error":"NotFoundError","message":"Attached function not found"}"#,
            Class::Rejected,
        ),
        (Call::RecordRead, 500, VARIABLES, Class::Rejected),
        (
            Call::RecordRead,
            500,
            r#"{"error":"InternalError","message":"Method scout_logs is not implemented"}"#,
            Class::Rejected,
        ),
        (
            Call::RecordRead,
            501,
            r#"{"error":"ChromaError","message":"Error executing plan: Not implemented: Search operation is not implemented for local executor"}"#,
            Class::Rejected,
        ),
        (
            DELETE,
            500,
            r#"{"error":"InternalError","message":"Failed to resolve records for deletion: Internal error: error returned from database: (code: 1) too many SQL variables"}"#,
            Class::Rejected,
        ),
    ]);
}

#[test]
fn passing_conditions() {
    check(&[
        (PUT, 500, LOCKED, Class::Transient),
        (DROP_DATABASE, 500, LOCKED, Class::Transient),
        (Call::RecordRead, 500, LOCKED, Class::Transient),
        (
            Call::RecordRead,
            500,
            r#"{"error":"InternalError","message":"Error executing plan: Internal error: Error finding id"}"#,
            Class::Transient,
        ),
        (
            Call::RecordRead,
            500,
            r#"{"error":"InternalError","message":"Error executing plan: Internal error: Error creating hnsw segment reader: Nothing found on disk"}"#,
            Class::Transient,
        ),
    ]);
}

#[test]
fn in_doubt() {
    check(&[
        (ADD, 500, r#"{"error":"InternalError","message":"Error sending message to compactor"}"#, Class::Broken),
        (ADD, 500, r#"{"error":"InternalError","message":"Failed to send request"}"#, Class::Broken),
        (ADD, 500, LOCKED, Class::Broken),
        (ADD, 500, "", Class::Gateway),
        (PUT, 502, "<html>bad gateway</html>", Class::Gateway),
        (ADD, 503, "", Class::Gateway),
        (CREATE, 504, "", Class::Gateway),
        (ADD, 408, "", Class::Gateway),
        (ADD, 599, "", Class::Gateway),
        (ADD, 65535, "", Class::Gateway),
    ]);
}

#[test]
fn failed_and_nothing_is_known_of_why() {
    let deep = r#"{"error":"InternalError","message":"Failed to resolve records for deletion: Internal error: error returned from database: (code: 1) something new"}"#;
    check(&[
        (ADD, 500, VARIABLES, Class::Failed),
        (DELETE, 500, deep, Class::Failed),
        (ADD, 500, r#"{"error":"InternalError","message":"something new"}"#, Class::Failed),
        (Call::RecordRead, 500, r#"{"error":"InternalError","message":"something new"}"#, Class::Failed),
        (ADD, 507, r#"{"error":"InternalError","message":"no space"}"#, Class::Failed),
        (ADD, 503, r#"{"error":"InternalError","message":"starting"}"#, Class::Broken),
    ]);
}

#[test]
fn no_verdict() {
    let reset = r#"{"error":"ChromaError","message":"Reset is disabled by config"}"#;
    let table = r#"{"error":"InternalError","message":"error returned from database: (code: 1) no such table: embeddings_queue"}"#;
    check(&[
        (ADD, 404, MISSING_BY_ID, Class::Unfit),
        (DELETE, 404, MISSING_BY_ID, Class::Unfit),
        (PUT, 404, MISSING_BY_ID, Class::Unfit),
        (Call::RecordRead, 404, MISSING_BY_ID, Class::Unfit),
        (DROP, 404, "", Class::Unfit),
        (CREATE, 404, "<html>not found</html>", Class::Unfit),
        (RESET, 403, reset, Class::Unfit),
        (ADD, 412, "", Class::Unfit),
        (ADD, 413, "length limit exceeded", Class::Unfit),
        (ADD, 429, "", Class::Transient),
        (ADD, 401, "", Class::Unfit),
        (ADD, 405, "", Class::Unfit),
        (
            ADD,
            410,
            r#"{"error":"Unimplemented","message":"The v1 API is deprecated. Please use /v2 apis"}"#,
            Class::Unfit,
        ),
        (ADD, 400, "<html>bad request</html>", Class::Unfit),
        (ADD, 302, "", Class::Unfit),
        (ADD, 0, "", Class::Unfit),
        (ADD, 500, table, Class::Unfit),
    ]);
}

#[test]
fn conditions_that_are_too_large_are_refused_for_good() {
    let texts = [
        "(code: 1) Expression tree is too large (maximum depth 1000)",
        "(code: 1) LIKE or GLOB pattern too complex",
        "(code: 1) Compiled regex exceeds size limit of 10485760 bytes.",
        "(code: 1) too many SQL variables",
    ];
    for text in texts {
        let body = |before: &str| {
            format!(
                r#"{{"error":"InternalError","message":"{before}Internal error: error returned from database: {text}"}}"#
            )
        };
        check(&[
            (DELETE, 500, &body("Failed to resolve records for deletion: "), Class::Rejected),
            (Call::RecordRead, 500, &body("Error executing plan: "), Class::Rejected),
            // Not during a write: it may have been committed.
            (ADD, 500, &body("Error in compaction: "), Class::Failed),
            (DELETE, 500, &body("Error in compaction: "), Class::Failed),
        ]);
    }
    let definition = r#"{"error":"InternalError","message":"Error executing query: Database error: error returned from database: (code: 1) too many SQL variables"}"#;
    check(&[(CREATE, 500, definition, Class::Rejected), (PUT, 500, definition, Class::Rejected)]);
    let broken =
        r#"{"error":"InternalError","message":"Error in compaction: Failed to apply logs to the metadata segment"}"#;
    check(&[(ADD, 500, broken, Class::Failed)]);
}

/// If the header decides the class, it is the class that header and body decide together.
#[test]
fn a_header_says_what_the_body_will() {
    use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
    let bodies = [r#"{"error":"InternalError","message":"something new"}"#, "<html>", ""];
    for status in 200..=599 {
        for (body, kind) in bodies.iter().zip(["application/json", "text/html", ""]) {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if let Some(class) = classify_header(status, &headers) {
                assert_eq!(class, classify(ADD, status, body.as_bytes()), "{status} {kind}");
            }
        }
    }
    let json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    assert_eq!(classify_header(500, &json), None, "only the body tells what a 500 of Chroma's means");
}

#[test]
fn what_a_read_does_with_an_answer() {
    let advice = |status, body: &str| classify(Call::RecordRead, status, body.as_bytes()).read_advice();
    assert_eq!(advice(200, "{}"), ReadAdvice::PassOn);
    assert_eq!(advice(500, VARIABLES), ReadAdvice::PassOn);
    assert_eq!(advice(500, r#"{"error":"InternalError","message":"the index is damaged"}"#), ReadAdvice::Elsewhere);
    assert_eq!(advice(404, MISSING_BY_ID), ReadAdvice::Elsewhere);
    assert_eq!(advice(500, LOCKED), ReadAdvice::Again);
    for status in [408, 429, 502, 503, 504] {
        assert_eq!(advice(status, "<html>"), ReadAdvice::Again, "{status}");
    }
}
