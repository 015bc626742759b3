-- What applications and operators ask about transactions: by time, by session, by the id a client brought; how many there
-- are. And an application's own operations: transactions of kind and lane 'application', which no instance executes.

-- The number of transactions by hour of creation, status and kind, with sums for averages. Kept by triggers, in the same
-- commit as what they count, whoever writes: so it equals the truth, and is small however many transactions there are.
CREATE TABLE chroma_edge.statistics (
    -- Hours since the epoch.
    hour              bigint NOT NULL,
    status            text   NOT NULL COLLATE "C",
    kind              text   NOT NULL COLLATE "C",
    transactions      bigint NOT NULL,
    timing_gaps       bigint NOT NULL,
    retries           bigint NOT NULL,
    completed         bigint NOT NULL,
    completion_millis bigint NOT NULL,
    PRIMARY KEY (hour, status, kind)
) WITH (fillfactor = 50);

CREATE FUNCTION chroma_edge.hour_of(moment timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT floor(extract(epoch FROM moment) / 3600)::bigint $$;

CREATE FUNCTION chroma_edge.millis_between(since timestamptz, until timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(greatest(round(extract(epoch FROM until - since) * 1000), 0), 0)::bigint
$$;

INSERT INTO chroma_edge.statistics
    SELECT chroma_edge.hour_of(created_at), status, kind, count(*), count(*) FILTER (WHERE timing_gap), sum(retry_count),
        count(completed_at), sum(chroma_edge.millis_between(created_at, completed_at))
    FROM chroma_edge.transactions GROUP BY 1, 2, 3;

CREATE FUNCTION chroma_edge.count_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chroma_edge.statistics AS s
        SELECT chroma_edge.hour_of(created_at), status, kind, count(*), count(*) FILTER (WHERE timing_gap),
            sum(retry_count), count(completed_at), sum(chroma_edge.millis_between(created_at, completed_at))
        FROM added GROUP BY 1, 2, 3
    ON CONFLICT (hour, status, kind) DO UPDATE SET transactions = s.transactions + excluded.transactions,
        timing_gaps = s.timing_gaps + excluded.timing_gaps, retries = s.retries + excluded.retries,
        completed = s.completed + excluded.completed, completion_millis = s.completion_millis + excluded.completion_millis;
    RETURN NULL;
END
$$;

CREATE FUNCTION chroma_edge.count_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chroma_edge.statistics AS s
        SELECT hour, status, kind, sum(n), sum(gaps), sum(retries), sum(ended), sum(millis) FROM (
            SELECT chroma_edge.hour_of(created_at) AS hour, status, kind, 1 AS n, timing_gap::int AS gaps,
                retry_count AS retries, (completed_at IS NOT NULL)::int AS ended,
                chroma_edge.millis_between(created_at, completed_at) AS millis
            FROM added
            UNION ALL
            SELECT chroma_edge.hour_of(created_at), status, kind, -1, -timing_gap::int, -retry_count,
                -(completed_at IS NOT NULL)::int, -chroma_edge.millis_between(created_at, completed_at)
            FROM removed
        ) AS changes
        GROUP BY 1, 2, 3
        HAVING sum(n) <> 0 OR sum(gaps) <> 0 OR sum(retries) <> 0 OR sum(ended) <> 0 OR sum(millis) <> 0
    ON CONFLICT (hour, status, kind) DO UPDATE SET transactions = s.transactions + excluded.transactions,
        timing_gaps = s.timing_gaps + excluded.timing_gaps, retries = s.retries + excluded.retries,
        completed = s.completed + excluded.completed, completion_millis = s.completion_millis + excluded.completion_millis;
    RETURN NULL;
END
$$;

CREATE FUNCTION chroma_edge.count_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE chroma_edge.statistics AS s SET transactions = s.transactions - r.n, timing_gaps = s.timing_gaps - r.gaps,
        retries = s.retries - r.retries, completed = s.completed - r.ended,
        completion_millis = s.completion_millis - r.millis
    FROM (
        SELECT chroma_edge.hour_of(created_at) AS hour, status, kind, count(*) AS n,
            count(*) FILTER (WHERE timing_gap) AS gaps, sum(retry_count) AS retries, count(completed_at) AS ended,
            sum(chroma_edge.millis_between(created_at, completed_at)) AS millis
        FROM removed GROUP BY 1, 2, 3
    ) AS r
    WHERE s.hour = r.hour AND s.status = r.status AND s.kind = r.kind;
    DELETE FROM chroma_edge.statistics WHERE transactions = 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER statistics_insert AFTER INSERT ON chroma_edge.transactions
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION chroma_edge.count_inserted();
CREATE TRIGGER statistics_update AFTER UPDATE ON chroma_edge.transactions
    REFERENCING OLD TABLE AS removed NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION chroma_edge.count_updated();
CREATE TRIGGER statistics_delete AFTER DELETE ON chroma_edge.transactions
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION chroma_edge.count_deleted();

-- Lists are newest first, by time and then by position. Each index covers what is counted and what it is filtered by.
DROP INDEX chroma_edge.transactions_by_time;
CREATE INDEX transactions_by_time ON chroma_edge.transactions (created_at, seq, kind);
CREATE INDEX transactions_by_status ON chroma_edge.transactions (status, created_at, seq, kind);
-- A session has 255 characters at most; what an earlier version stored may be too long for an index.
CREATE INDEX transactions_by_session ON chroma_edge.transactions (left(client_session, 255), created_at, seq)
    WHERE client_session IS NOT NULL;
CREATE INDEX transactions_timing_gaps ON chroma_edge.transactions (created_at) WHERE timing_gap;
CREATE INDEX transactions_application ON chroma_edge.transactions (completed_at)
    WHERE lane = 'application' AND completed_at IS NOT NULL;
-- A key is asked for without its tenant too. It has 255 characters at most.
CREATE INDEX transactions_by_key ON chroma_edge.transactions (left(client_key, 255), seq) WHERE client_key IS NOT NULL;
