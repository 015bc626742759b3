-- The journal: transactions in order, the catalog they make, and how far every instance is.
-- Names (kind, verdict, status, ...) are stored as text: see src/journal/names.rs.

CREATE TABLE meta (
    one           INTEGER PRIMARY KEY CHECK (one = 1),
    journal_id    BLOB    NOT NULL,
    -- The last position given out: kept here so that no position is given out twice, whatever was trimmed.
    last_seq      INTEGER NOT NULL,
    -- Raised by the empty write that settles a commit in doubt.
    fence         INTEGER NOT NULL
) STRICT;

CREATE TABLE transactions (
    seq             INTEGER PRIMARY KEY,
    transaction_id  BLOB    NOT NULL UNIQUE,
    client_tenant   TEXT,
    client_key      TEXT,
    fingerprint     BLOB,
    lane            TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    merge_docs      INTEGER,
    merge_encoding  TEXT,
    bytes           INTEGER NOT NULL,
    verdict         TEXT,
    executed_on     TEXT,
    status          TEXT    NOT NULL,
    response_status INTEGER,
    timing_gap      INTEGER NOT NULL DEFAULT 0,
    retry_count     INTEGER NOT NULL DEFAULT 0,
    created_at      INTEGER NOT NULL,
    completed_at    INTEGER,
    method          TEXT    NOT NULL,
    path            TEXT    NOT NULL,
    content_type    TEXT,
    client_session  TEXT,
    client_ip       TEXT,
    user_identifier TEXT,
    failure_reason  TEXT,
    answer_status   INTEGER,
    answer_body     BLOB
) STRICT;

-- Apart from their transactions, whose rows are written again with each verdict and status: a body of megabytes is
-- written once.
CREATE TABLE bodies (
    seq      INTEGER PRIMARY KEY REFERENCES transactions (seq) ON DELETE CASCADE,
    body     BLOB NOT NULL,
    -- The ids that a limited delete resolved to: executed instead of the body.
    resolved BLOB
) STRICT;

CREATE UNIQUE INDEX transactions_by_client_key ON transactions (client_tenant, client_key)
    WHERE client_key IS NOT NULL;
CREATE INDEX transactions_by_lane ON transactions (lane, seq);
CREATE INDEX transactions_by_status ON transactions (status);
CREATE INDEX transactions_unsettled ON transactions (lane, seq) WHERE verdict IS NULL;

CREATE TABLE tenants (
    tenant TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE databases (
    tenant      TEXT NOT NULL,
    database    TEXT NOT NULL,
    database_id BLOB NOT NULL,
    PRIMARY KEY (tenant, database)
) STRICT, WITHOUT ROWID;

CREATE TABLE collections (
    collection  TEXT    PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    database    TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    origin      TEXT    NOT NULL,
    dimensioned INTEGER NOT NULL DEFAULT 0,
    -- The last position when it was deleted. Kept until every instance has executed the deletion: one that was away
    -- executes the collection's earlier changes first, by its id there.
    deleted     INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX collections_by_database ON collections (tenant, database);

CREATE TABLE collection_instances (
    collection             TEXT NOT NULL REFERENCES collections (collection) ON DELETE CASCADE,
    instance               TEXT NOT NULL,
    instance_collection_id BLOB NOT NULL,
    PRIMARY KEY (collection, instance)
) STRICT, WITHOUT ROWID;

CREATE TABLE progress (
    lane     TEXT    NOT NULL,
    instance TEXT    NOT NULL,
    through  INTEGER NOT NULL DEFAULT 0,
    standing TEXT    NOT NULL DEFAULT 'in_step',
    reason   TEXT,
    PRIMARY KEY (lane, instance)
) STRICT, WITHOUT ROWID;

-- At or below its floor nothing is left of a lane.
CREATE TABLE floors (
    lane  TEXT    PRIMARY KEY,
    floor INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What every Chroma server has from its first start.
INSERT INTO tenants (tenant) VALUES ('default_tenant');
INSERT INTO databases (tenant, database, database_id) VALUES ('default_tenant', 'default_database', zeroblob(16));
