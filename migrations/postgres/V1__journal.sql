-- The journal: transactions in order, the catalog they make, how far every instance is, and who may write.
-- Names (kind, verdict, status, ...) are stored as text: see src/journal/names.rs. Text that comes from clients may be
-- longer than a B-tree takes and may hold U+0000, which PostgreSQL's text cannot: see src/journal/postgres/text.rs.

-- Its schema is there before its first migration: the history of migrations is in it.

-- One row, updated by every commit: a page with room for its next versions keeps it from growing.
CREATE TABLE chroma_edge.journal (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    journal_id   uuid   NOT NULL DEFAULT gen_random_uuid(),
    -- The last position given out: kept here so that no position is given out twice, whatever was trimmed.
    last_seq     bigint NOT NULL DEFAULT 0,
    -- Guarded commits so far: a journal with fewer than an edge has seen acknowledged has lost some.
    commits      bigint NOT NULL DEFAULT 0,
    -- The fencing token: raised whenever what was sent before must not become durable any more.
    epoch        bigint NOT NULL DEFAULT 0,
    -- The process that the epoch belongs to; NULL: nobody's.
    epoch_holder uuid,
    -- Why nothing may be written before somebody has looked at it. To go on: UPDATE chroma_edge.journal SET halted = NULL
    halted       text
) WITH (fillfactor = 10);
INSERT INTO chroma_edge.journal DEFAULT VALUES;

-- Who holds the journal, on this database's clock.
CREATE TABLE chroma_edge.lease (
    one         boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- A number that its process made up at its start; NULL: nobody.
    holder      uuid,
    holder_name text,
    expires_at  timestamptz
) WITH (fillfactor = 10);
INSERT INTO chroma_edge.lease DEFAULT VALUES;

-- Requests of earlier edges that ended after their lease: the one row that an edge without the lease may still write.
CREATE TABLE chroma_edge.suspects (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane     text        NOT NULL COLLATE "C",
    instance text        NOT NULL COLLATE "C",
    epoch    bigint,
    noted_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE chroma_edge.transactions (
    seq             bigint      PRIMARY KEY,
    transaction_id  uuid        NOT NULL,
    client_tenant   text        COLLATE "C",
    client_key      text        COLLATE "C",
    -- SHA-256 over tenant and key, which may be too long for an index.
    client_digest   bytea,
    fingerprint     bytea,
    lane            text        NOT NULL COLLATE "C",
    kind            text        NOT NULL COLLATE "C",
    merge_docs      bigint,
    merge_encoding  text        COLLATE "C",
    bytes           bigint      NOT NULL,
    verdict         text        COLLATE "C",
    executed_on     text        COLLATE "C",
    status          text        NOT NULL COLLATE "C",
    response_status integer,
    timing_gap      boolean     NOT NULL DEFAULT false,
    retry_count     integer     NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL,
    completed_at    timestamptz,
    method          text        NOT NULL,
    path            text        NOT NULL,
    content_type    text,
    client_session  text,
    client_ip       text,
    user_identifier text,
    failure_reason  text,
    answer_status   integer,
    answer_body     bytea,
    -- When every configured instance had applied or skipped it.
    synced_at       timestamptz,
    -- When recovery tries again, while it waits to.
    next_retry_at   timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);

CREATE UNIQUE INDEX transactions_by_id ON chroma_edge.transactions (transaction_id);
CREATE UNIQUE INDEX transactions_by_client_key ON chroma_edge.transactions (client_digest)
    WHERE client_digest IS NOT NULL;
CREATE INDEX transactions_by_lane ON chroma_edge.transactions (lane, seq);
CREATE INDEX transactions_unsettled ON chroma_edge.transactions (lane, seq) WHERE verdict IS NULL;
CREATE INDEX transactions_unfinished ON chroma_edge.transactions (status, seq) WHERE status IN ('ATTEMPTING', 'FAILED');
-- For operators' questions about the last hours.
CREATE INDEX transactions_by_time ON chroma_edge.transactions USING brin (created_at);

-- Apart from their transactions, whose rows are written again with each verdict and status: a body of megabytes is
-- written once. Without a foreign key: every row of both tables is written and removed in one commit, by position.
CREATE TABLE chroma_edge.bodies (
    seq      bigint PRIMARY KEY,
    body     bytea  NOT NULL,
    -- The ids that a limited delete resolved to: executed instead of the body.
    resolved bytea,
    -- 'plain' or 'zstd'; a resolution is always plain.
    encoding text   NOT NULL DEFAULT 'plain' COLLATE "C"
);
-- Compressed, if at all, by the edge: the server's default would spend a commit's time on it.
ALTER TABLE chroma_edge.bodies ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN resolved SET STORAGE EXTERNAL;

CREATE TABLE chroma_edge.tenants (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant text   NOT NULL COLLATE "C",
    -- Names of any length: only their hashes are in the index.
    CONSTRAINT tenants_are_unique EXCLUDE USING hash (tenant WITH =)
);

CREATE TABLE chroma_edge.databases (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant      text   NOT NULL COLLATE "C",
    database    text   NOT NULL COLLATE "C",
    database_id uuid   NOT NULL,
    CONSTRAINT databases_are_unique EXCLUDE USING hash ((length(tenant)::text || ':' || tenant || database) WITH =)
);

CREATE TABLE chroma_edge.collections (
    -- As in `lane`, so that the two can be joined.
    collection  text        PRIMARY KEY COLLATE "C",
    tenant      text        NOT NULL COLLATE "C",
    database    text        NOT NULL COLLATE "C",
    name        text        NOT NULL COLLATE "C",
    created     bigint      NOT NULL,
    origin      text        NOT NULL COLLATE "C",
    dimensioned boolean     NOT NULL DEFAULT false,
    -- The last position when it was deleted. Kept until every instance has executed the deletion: one that was away
    -- executes the collection's earlier changes first, by its id there.
    deleted     bigint,
    created_at  timestamptz,
    updated_at  timestamptz
);

CREATE TABLE chroma_edge.collection_instances (
    collection             text NOT NULL COLLATE "C" REFERENCES chroma_edge.collections (collection) ON DELETE CASCADE,
    instance               text NOT NULL COLLATE "C",
    instance_collection_id uuid NOT NULL,
    PRIMARY KEY (collection, instance)
);

CREATE TABLE chroma_edge.progress (
    lane     text   NOT NULL COLLATE "C",
    instance text   NOT NULL COLLATE "C",
    through  bigint NOT NULL DEFAULT 0,
    standing text   NOT NULL DEFAULT 'in_step' COLLATE "C",
    reason   text,
    PRIMARY KEY (lane, instance)
) WITH (fillfactor = 50);

-- At or below its floor nothing is left of a lane.
CREATE TABLE chroma_edge.floors (
    lane  text   PRIMARY KEY COLLATE "C",
    floor bigint NOT NULL
);

-- Which instances there are. Position is the configured order, 0 the primary; NULL: configured once, and no more.
CREATE TABLE chroma_edge.instances (
    instance text    PRIMARY KEY COLLATE "C",
    position integer
);

-- What every Chroma server has from its first start.
INSERT INTO chroma_edge.tenants (tenant) VALUES ('default_tenant');
INSERT INTO chroma_edge.databases (tenant, database, database_id)
    VALUES ('default_tenant', 'default_database', '00000000-0000-0000-0000-000000000000');

-- The first statement of every commit: checks the fence, takes the row's lock until the commit's end, and gives out
-- positions. JE001: the epoch is another one, or another process's. JE002: somebody must look at the journal first.
CREATE FUNCTION chroma_edge.guard(held bigint, holder uuid, appends bigint, OUT last_seq bigint, OUT commits bigint)
LANGUAGE plpgsql AS $$
DECLARE
    found_epoch  bigint;
    found_halted text;
BEGIN
    UPDATE chroma_edge.journal AS j SET last_seq = j.last_seq + appends, commits = j.commits + 1
        WHERE j.epoch = held AND j.epoch_holder = guard.holder AND j.halted IS NULL
        RETURNING j.last_seq, j.commits INTO guard.last_seq, guard.commits;
    IF NOT FOUND THEN
        SELECT j.epoch, j.halted INTO found_epoch, found_halted FROM chroma_edge.journal AS j;
        IF found_halted IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'JE002', MESSAGE = found_halted;
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'JE001',
            MESSAGE = format('the journal''s epoch is %s, and this edge''s was %s', found_epoch, held);
    END IF;
END
$$;
