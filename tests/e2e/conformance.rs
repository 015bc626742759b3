//! The requests of the comparison with a single Chroma: one row for each operation, and one for each refusal.

use serde_json::json;

use testkit::conversation::{Same, Step};

/// Each operation of the API, in an order in which each has something to work on.
pub fn operations() -> Vec<Step> {
    [system(), places(), collections(), records(), endings()].concat()
}

fn system() -> Vec<Step> {
    vec![
        Step::get("root", "/api/v2").same(Same::Shape),
        Step::get("heartbeat", "/api/v2/heartbeat").same(Same::Shape),
        Step::get("healthcheck", "/api/v2/healthcheck"),
        Step::get("version", "/api/v2/version"),
        Step::get("pre-flight checks", "/api/v2/pre-flight-checks"),
        Step::get("identity", "/api/v2/auth/identity"),
        Step::raw("reset, forbidden", "POST", "/api/v2/reset", "", b"").same(Same::ErrorName),
    ]
}

fn places() -> Vec<Step> {
    let tenant = "/api/v2/tenants/other-tenant";
    vec![
        Step::post("create tenant", "/api/v2/tenants", &json!({ "name": "other-tenant" })),
        Step::post("create tenant twice", "/api/v2/tenants", &json!({ "name": "other-tenant" })),
        Step::get("tenant", tenant),
        Step::json("change tenant", "PATCH", tenant, &json!({ "resource_name": "r" })),
        Step::post("create database", &format!("{tenant}/databases"), &json!({ "name": "db-b" })),
        Step::post("create second database", &format!("{tenant}/databases"), &json!({ "name": "db-a" })),
        Step::post("create database twice", &format!("{tenant}/databases"), &json!({ "name": "db-a" })),
        Step::get("database", &format!("{tenant}/databases/db-a")),
        Step::get("databases", &format!("{tenant}/databases")),
        Step::get("page of databases", &format!("{tenant}/databases?limit=1&offset=1")),
        Step::post("collection there", &format!("{tenant}/databases/db-a/collections"), &json!({ "name": "same" })),
        Step::post("its twin elsewhere", &format!("{tenant}/databases/db-b/collections"), &json!({ "name": "same" })),
        Step::get("its page", &format!("{tenant}/databases/db-a/collections")),
        Step::delete("delete database", &format!("{tenant}/databases/db-a")),
        Step::get("deleted database", &format!("{tenant}/databases/db-a")),
        Step::get("the twin stays", &format!("{tenant}/databases/db-b/collections/same")),
    ]
}

fn collections() -> Vec<Step> {
    let all = "{db}/collections";
    let rich = json!({
        "name": "rich", "metadata": { "a": 1, "b": 0.5, "c": "x", "d": true },
        "configuration": { "hnsw": { "space": "cosine", "ef_search": 50 } },
    });
    vec![
        Step::post("create", all, &json!({ "name": "kept" })).capture("kept"),
        Step::post("create with everything", all, &rich).capture("rich"),
        Step::post(
            "create with legacy metadata",
            all,
            &json!({ "name": "legacy", "metadata": { "hnsw:space": "ip" } }),
        ),
        Step::post("create twice", all, &json!({ "name": "kept" })),
        Step::post(
            "get or create, found",
            all,
            &json!({ "name": "rich", "get_or_create": true, "metadata": { "z": 1 } }),
        ),
        Step::post("get or create, new", all, &json!({ "name": "third", "get_or_create": true })),
        Step::get("by name", "{db}/collections/rich"),
        Step::get("by id", "{db}/collections/by-id/{rich}"),
        Step::get("list", all),
        Step::get("first page", "{db}/collections?limit=2&offset=0").same(Same::Status),
        Step::get("beyond the last page", "{db}/collections?limit=2&offset=50"),
        Step::get("how many", "{db}/collections_count"),
        Step::json("new metadata", "PUT", "{db}/collections/{rich}", &json!({ "new_metadata": { "e": 5 } })),
        Step::json("rename", "PUT", "{db}/collections/{rich}", &json!({ "new_name": "richer" })),
        Step::json(
            "configure",
            "PUT",
            "{db}/collections/{rich}",
            &json!({ "new_configuration": { "hnsw": { "ef_search": 60 } } }),
        ),
        Step::get("as changed", "{db}/collections/richer"),
        Step::get("its old name", "{db}/collections/rich"),
        Step::json("rename onto another", "PUT", "{db}/collections/{rich}", &json!({ "new_name": "kept" })),
    ]
}

fn records() -> Vec<Step> {
    let at = |operation: &str| format!("{{db}}/collections/{{kept}}/{operation}");
    let all = json!({ "include": ["embeddings", "documents", "metadatas", "uris"] });
    let four = json!({
        "ids": ["a", "b", "c", "d"], "embeddings": [[1, 0, 0.5], [0, 1, 0.25], [0.1, 0.2, 0.3], [-1, 0.5, 0]],
        "documents": ["red fox", "blue fox", null, "owl"], "uris": [null, "u:b", null, null],
        "metadatas": [{ "n": 1, "big": 9007199254740993_i64 }, { "n": 2, "list": [1, 2] }, null, { "n": 4, "f": 1.0 }],
    });
    // 1.0, 2.0 and 3.0 as little-endian floats.
    let base64 = json!({ "ids": ["e"], "embeddings": ["AACAPwAAAEAAAEBA"] });
    vec![
        Step::post("add", &at("add"), &four),
        Step::post("add base64", &at("add"), &base64),
        Step::post("add again", &at("add"), &json!({ "ids": ["a"], "embeddings": [[9, 9, 9]] })),
        Step::get("count", &at("count")),
        Step::get("count with a level", &at("count?read_level=index_and_wal")),
        Step::post("get all", &at("get"), &all),
        Step::post("get by default", &at("get"), &json!({})),
        Step::post("get a page", &at("get"), &json!({ "limit": 2, "offset": 1 })),
        Step::post(
            "get by id and condition",
            &at("get"),
            &json!({ "ids": ["a", "b"], "where": { "n": { "$gt": 1 } } }),
        ),
        Step::post("get by document", &at("get"), &json!({ "where_document": { "$contains": "fox" } })),
        Step::post("query", &at("query"), &json!({ "query_embeddings": [[1, 0, 0.5], [0, 1, 0]], "n_results": 3 })),
        Step::post(
            "query where",
            &at("query"),
            &json!({
                "query_embeddings": [[1, 0, 0.5]], "where": { "n": { "$lt": 4 } }, "include": ["documents", "distances"],
            }),
        ),
        Step::post(
            "update",
            &at("update"),
            &json!({ "ids": ["a", "none"], "metadatas": [{ "n": null, "t": "x" }, { "n": 0 }] }),
        ),
        Step::post("upsert", &at("upsert"), &json!({ "ids": ["b", "f"], "embeddings": [[5, 5, 5], [6, 6, 6]] })),
        Step::post("delete by id", &at("delete"), &json!({ "ids": ["d", "absent", "d"] })),
        Step::post("delete where", &at("delete"), &json!({ "where": { "n": 2 } })),
        Step::post(
            "add two",
            &at("add"),
            &json!({
                "ids": ["g", "h", "i"], "embeddings": [[1, 1, 1], [2, 2, 2], [3, 3, 3]], "metadatas": [{ "n": 7 }, { "n": 7 }, { "n": 7 }],
            }),
        ),
        Step::post("delete with limit", &at("delete"), &json!({ "where": { "n": 7 }, "limit": 2 })),
        Step::post("delete nothing", &at("delete"), &json!({})),
        Step::post("add nothing", &at("add"), &json!({ "ids": [], "embeddings": [] })),
        Step::raw("add without a content type", "POST", &at("add"), "", br#"{"ids":["j"],"embeddings":[[1,2,3]]}"#),
        Step::post("what is left", &at("get"), &all),
    ]
}

fn endings() -> Vec<Step> {
    vec![
        Step::delete("delete", "{db}/collections/third"),
        Step::delete("delete twice", "{db}/collections/third"),
        Step::post("create again", "{db}/collections", &json!({ "name": "third" })).capture("third"),
        Step::get("it is empty", "{db}/collections/{third}/count"),
    ]
}

/// Each refusal and oddity, by status.
pub fn refusals() -> Vec<Step> {
    let unknown = "{db}/collections/3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    let one = json!({ "ids": ["a"], "embeddings": [[1, 2, 3]] });
    let at = |operation: &str| format!("{{db}}/collections/{{kept}}/{operation}");
    let collections = "{db}/collections";
    vec![
        Step::post("create", collections, &json!({ "name": "kept" })).capture("kept"),
        Step::post("add", &at("add"), &one),
        Step::post("404 collection, write", &format!("{unknown}/add"), &one),
        Step::post("404 collection, read", &format!("{unknown}/get"), &json!({})),
        Step::get("404 collection, count", &format!("{unknown}/count")),
        Step::json("404 collection, change", "PUT", unknown, &json!({ "new_name": "new" })),
        Step::get("404 collection, name", "{db}/collections/absent"),
        Step::get("404 collection, by id", "{db}/collections/by-id/3f2504e0-4f89-41d3-9a0c-0305e82c3301"),
        Step::delete("404 collection, delete", "{db}/collections/absent"),
        Step::get("404 database", "/api/v2/tenants/default_tenant/databases/absent"),
        Step::delete("404 database, delete", "/api/v2/tenants/default_tenant/databases/absent"),
        Step::get("404 tenant", "/api/v2/tenants/absent"),
        Step::get("404 path", "/api/v2/nothing"),
        Step::get("404 root", "/nothing"),
        Step::delete("405 tenant", "/api/v2/tenants/default_tenant"),
        Step::get("405 add", &at("add")),
        Step::raw("405 v1", "POST", "/api/v1/collections", "application/json", b"{}"),
        Step::get("410 v1", "/api/v1/heartbeat"),
        Step::get("410 v1 collections", "/api/v1/collections"),
        Step::post("409 collection", collections, &json!({ "name": "kept" })),
        Step::raw("415 text", "POST", &at("add"), "text/plain", one.to_string().as_bytes()),
        Step::post("422 missing ids", &at("add"), &json!({ "embeddings": [[1, 2, 3]] })),
        Step::post("422 upsert without embeddings", &at("upsert"), &json!({ "ids": ["a"] })),
        Step::post("422 wrong type", &at("add"), &json!({ "ids": 5, "embeddings": [[1, 2, 3]] })),
        Step::post("422 query", &at("query"), &json!({})),
        Step::post("400 dimension", &at("add"), &json!({ "ids": ["b"], "embeddings": [[1]] })),
        Step::post("400 counts", &at("add"), &json!({ "ids": ["b", "c"], "embeddings": [[1, 2, 3]] })),
        Step::raw("400 not JSON", "POST", &at("add"), "application/json", b"{\"ids\": [").same(Same::ErrorName),
        Step::post("400 where", &at("get"), &json!({ "where": { "$what": 1 } })),
        Step::post("400 empty where", &at("delete"), &json!({ "where": {} })),
        Step::post("400 no ids to delete", &at("delete"), &json!({ "ids": [] })),
        Step::post("400 limit alone", &at("delete"), &json!({ "ids": ["a"], "limit": 1 })),
        Step::post("400 name", collections, &json!({ "name": "x" })),
        Step::post(
            "400 database",
            "/api/v2/tenants/default_tenant/databases/absent/collections",
            &json!({ "name": "name" }),
        ),
        Step::post("400 database name", "/api/v2/tenants/default_tenant/databases", &json!({ "name": "x" })),
        Step::post("501 fork", &at("fork"), &json!({ "new_name": "forked" })),
        Step::get("501 fork count", &at("fork_count")),
        Step::post("501 search", &at("search"), &json!({ "searches": [] })).same(Same::ErrorName),
        Step::get("500 indexing status", &at("indexing_status")),
        Step::post(
            "501 attach",
            &at("functions/attach"),
            &json!({
                "name": "fn", "function_id": "x", "output_collection": "o", "params": {},
            }),
        ),
        Step::get("404 function", &at("functions/absent")),
        Step::post("501 detach", &at("attached_functions/absent/detach"), &json!({ "delete_output": false })),
        Step::post("nothing of it stayed", &at("get"), &json!({ "include": ["embeddings", "documents", "metadatas"] })),
        Step::get("nor in the catalog", collections),
    ]
}

/// The effects of a reset when both sides allow it.
pub fn reset() -> Vec<Step> {
    vec![
        Step::post("create", "{db}/collections", &json!({ "name": "gone" })).capture("gone"),
        Step::post("add", "{db}/collections/{gone}/add", &json!({ "ids": ["a"], "embeddings": [[1, 2]] })),
        Step::post("tenant", "/api/v2/tenants", &json!({ "name": "gone-tenant" })),
        Step::raw("reset", "POST", "/api/v2/reset", "", b""),
        Step::get("no collections", "{db}/collections"),
        Step::get("no such collection", "{db}/collections/{gone}/count"),
        Step::get("no such tenant", "/api/v2/tenants/gone-tenant"),
        Step::post("create after", "{db}/collections", &json!({ "name": "after" })).capture("after"),
        Step::post("add after", "{db}/collections/{after}/add", &json!({ "ids": ["a"], "embeddings": [[1, 2, 3]] })),
        Step::get("count after", "{db}/collections/{after}/count"),
    ]
}
