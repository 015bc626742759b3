//! Real input of each kind from clients and servers: where the mutations start.

/// Request targets.
pub const PATHS: &[&str] = &[
    "/",
    "/api/v2",
    "/api/v2/heartbeat",
    "/api/v2/reset",
    "/api/v2/tenants",
    "/api/v2/tenants/default_tenant/databases?limit=10&offset=2",
    "/api/v2/tenants/default_tenant/databases/default_database",
    "/api/v2/tenants/a%2Fb/databases/c%20d/collections?limit=1",
    "/api/v2/tenants/t/databases/d/collections_count",
    "/api/v2/tenants/t/databases/d/collections/things",
    "/api/v2/tenants/t/databases/d/collections/by-id/0190a5d8-0000-7000-8000-000000000001",
    "/api/v2/tenants/t/databases/d/collections/0190a5d8-0000-7000-8000-000000000001/add",
    "/api/v2/tenants/t/databases/d/collections/0190a5d8-0000-7000-8000-000000000001/delete?x=y",
    "/api/v2/tenants/t/databases/d/collections/0190A5D8000070008000000000000001/query",
    "/api/v2/tenants/t/databases/d/collections/x/functions/f",
    "/api/v2/collections/crn",
    "/api/v1/collections",
    "/docs/x",
    "http://127.0.0.1:8000/api/v2/version",
    "*",
];

/// Bodies of writes and reads of records.
pub const RECORDS: &[&str] = &[
    r#"{"ids":["a","b"],"embeddings":[[1,2,3],[4.5,-6e-3,7]],"documents":["x",null],"metadatas":[{"k":1},null],"uris":null}"#,
    r#"{"ids":["a"],"embeddings":["AACAPwAAAEAAAEBA"],"metadatas":[{"s":"\u00e9","f":1.5,"b":true,"n":null}]}"#,
    r#"{"ids":["a"],"documents":["only a text"]}"#,
    r#"{"ids":["a"],"metadatas":[{"list":["a","b"],"chroma:document":"x"}]}"#,
    r#"{"ids":["a","b"]}"#,
    r#"{"where":{"$and":[{"k":{"$gt":1}},{"$or":[{"a":"b"},{"c":{"$in":["d"]}}]}]},"limit":3}"#,
    r#"{"where_document":{"$regex":"(a|b)*c{2,30}[^x]"},"ids":null}"#,
    r#"{"query_embeddings":[[1,2,3]],"n_results":10,"include":["distances"],"where":null}"#,
    r#"{"ids":["a"],"limit":10,"offset":0,"include":["documents","metadatas"]}"#,
];

/// Bodies of catalog writes.
pub const CATALOG: &[&str] = &[
    r#"{"name":"things","get_or_create":true,"metadata":{"hnsw:space":"cosine","k":1},"configuration":{"hnsw":{"space":"l2","ef_search":10}}}"#,
    r#"{"name":"things","schema":{"defaults":{"float_list":{"vector_index":{"enabled":true,"config":{"hnsw":{"m":16}}}}},"keys":{}}}"#,
    r#"{"new_name":"others","new_metadata":{"a":1},"new_configuration":{"hnsw":{"ef_search":1}}}"#,
    r#"{"name":"t"}"#,
];

/// Servers' answers.
pub const ANSWERS: &[&str] = &[
    r#"{"id":"0190a5d8-0000-7000-8000-000000000001","name":"things","configuration_json":{"hnsw":{"space":"l2"},"spann":null,"embedding_function":{"type":"legacy"}},"schema":null,"metadata":{"k":1e3},"dimension":3,"tenant":"t","database":"d","log_position":0,"version":0}"#,
    r#"[{"id":"0190a5d8-0000-7000-8000-000000000001","name":"things","tenant":"t","database":"d"},{"id":"0190a5d8-0000-7000-8000-000000000002","name":"others"}]"#,
    r#"{"id":"00000000-0000-0000-0000-000000000000","name":"d","tenant":"t"}"#,
    r#"{"error":"NotFoundError","message":"Collection [0190a5d8-0000-7000-8000-000000000001] does not exist"}"#,
    r#"{"error":"InternalError","message":"Error in compaction: database is locked"}"#,
    r#"{"ids":["a","b"],"embeddings":[[1,2]],"documents":null,"include":["embeddings"]}"#,
    r#"{"nanosecond heartbeat":1}"#,
    "<html><title>502 Bad Gateway</title></html>",
    "",
];

/// Configurations.
pub const CONFIGURATIONS: &[&str] = &[
    "version: 1\nthreads: 2\nedge:\n  listen: 127.0.0.1:8000\n  instances:\n    - { name: primary, url: \"http://127.0.0.1:8101\", headers: { Authorization: hunter2 } }\n    - name: replica\n      url: 'http://me:hunter2@127.0.0.1:8102'\n  journal: { postgres: \"postgres://edge:hunter2@db/c\" }\n",
    "edge:\n  instances:\n    - &a { name: a, url: 'http://127.0.0.1:1' }\n    - { <<: *a, name: b }\n  auth:\n    tokens:\n      - { name: cms, role: writer, sha256: 0000000000000000000000000000000000000000000000000000000000000000, tenants: [t] }\n  limits: { body_bytes: 40MiB, queue_wait: 1s500ms, client_rate: 10 }\n  protection: { collections: [global, \"prod_*\"], allow_reset: false }\n",
    "edge:\n  instances: [{ name: a, url: 'https://a:1' }]\n  notify: { webhook: { url: 'https://hooks/hunter2', secret: hunter2hunter2hunter2, timeout: 5s } }\n  cors: { origins: ['https://a.example'] }\n  trusted_proxies: [10.0.0.0/8, '::1']\n",
];

/// Values of headers with a credential.
pub const CREDENTIALS: &[&str] = &[
    "Bearer hunter2",
    "Basic bWU6aHVudGVyMg==",
    "bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIiwiZXhwIjo5OTk5OTk5OTk5LCJjaHJvbWFfcm9sZSI6ImFkbWluIn0.c2lnbmF0dXJl",
    "eyJhbGciOiJub25lIiwia2lkIjoieCIsImp3ayI6e319.e30.",
];
