-- Views for operators, under the names and columns that their queries use, in the connection's default schema so that
-- those queries run unchanged. They are for reading: a DELETE, an UPDATE or an INSERT succeeds and changes nothing,
-- because old clean-up scripts run them. SQLite has the same views.

DO $$
DECLARE
    taken text;
BEGIN
    SELECT string_agg(quote_ident(relname), ', ' ORDER BY relname) INTO taken
        FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace
            AND relname IN ('emergency_transaction_log', 'collection_id_mapping', 'pending_recovery_transactions',
                'transaction_safety_summary', 'unified_wal_writes');
    IF taken IS NOT NULL THEN
        RAISE EXCEPTION 'schema % already has %, which is none of chroma-edge''s: rename it, or give the edge a database or a default schema of its own',
            current_schema(), taken;
    END IF;
END
$$;

-- The bytes as JSON where they are JSON, else a description. Never an error, whatever they are: `json`, unlike `jsonb`,
-- takes \u0000, and what it does not take (other encodings, nesting beyond the stack) is caught. Not parallel safe,
-- because catching takes a subtransaction.
CREATE FUNCTION chroma_edge.shown(bytes bytea) RETURNS json
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE AS $$
BEGIN
    RETURN convert_from(bytes, 'UTF8')::json;
EXCEPTION WHEN OTHERS THEN
    RETURN json_build_object('json', false, 'bytes', length(bytes));
END
$$;

CREATE VIEW emergency_transaction_log AS
SELECT
    t.transaction_id,
    t.client_session,
    t.client_ip,
    t.method,
    t.path,
    -- The body as received. What is no JSON, or is compressed, is described and not shown.
    (SELECT CASE
        WHEN b.encoding <> 'plain' THEN json_build_object('encoding', b.encoding, 'bytes', t.bytes)
        ELSE chroma_edge.shown(b.body)
     END FROM chroma_edge.bodies AS b WHERE b.seq = t.seq) AS data,
    CASE WHEN t.content_type IS NULL THEN '{}'::json ELSE json_build_object('content-type', t.content_type) END
        AS headers,
    t.status,
    t.failure_reason,
    t.response_status,
    chroma_edge.shown(t.answer_body) AS response_data,
    t.created_at,
    t.completed_at,
    t.retry_count,
    -- What docs/rules.md calls R10 allows, on each healthy instance.
    3 AS max_retries,
    t.next_retry_at,
    t.timing_gap AS is_timing_gap_failure,
    -- Whose verdict it is; NULL while there is none. A write that is applied goes to every instance.
    t.executed_on AS target_instance,
    t.kind AS operation_type,
    t.user_identifier
FROM chroma_edge.transactions AS t;

CREATE VIEW collection_id_mapping AS
SELECT
    c.name AS collection_name,
    (SELECT m.instance_collection_id FROM chroma_edge.collection_instances AS m
        JOIN chroma_edge.instances AS i USING (instance)
        WHERE m.collection = c.collection AND i.position = 0) AS primary_collection_id,
    (SELECT m.instance_collection_id FROM chroma_edge.collection_instances AS m
        JOIN chroma_edge.instances AS i USING (instance)
        WHERE m.collection = c.collection AND i.position = 1) AS replica_collection_id,
    c.created_at,
    c.updated_at,
    c.tenant,
    c.database,
    c.collection::uuid AS collection_id
FROM chroma_edge.collections AS c
WHERE c.deleted IS NULL;

-- What has no verdict yet: recovery finishes it, unless an attempt under way does.
CREATE VIEW pending_recovery_transactions AS
SELECT
    t.transaction_id,
    t.method,
    t.path,
    t.status,
    t.failure_reason,
    t.retry_count,
    3 AS max_retries,
    t.next_retry_at,
    t.created_at,
    t.timing_gap AS is_timing_gap_failure,
    t.kind AS operation_type,
    CASE WHEN t.lane NOT IN ('catalog', 'application') THEN t.lane::uuid END AS collection_id
FROM chroma_edge.transactions AS t
WHERE t.verdict IS NULL AND t.lane <> 'application' AND t.status IN ('ATTEMPTING', 'FAILED');

CREATE VIEW transaction_safety_summary AS
SELECT
    t.status,
    count(*) AS transaction_count,
    count(*) FILTER (WHERE t.timing_gap) AS timing_gap_failures,
    min(t.created_at) AS oldest_transaction,
    max(t.created_at) AS newest_transaction,
    avg(t.retry_count)::float8 AS avg_retry_count,
    avg(extract(epoch FROM t.completed_at - t.created_at))::float8 AS avg_completion_seconds
FROM chroma_edge.transactions AS t
GROUP BY t.status;

CREATE VIEW unified_wal_writes AS
SELECT
    t.transaction_id AS write_id,
    t.method,
    t.path,
    -- Every write goes to every instance.
    'all'::text AS target_instance,
    t.executed_on,
    -- synced: every configured instance has it. failed: it has no effect anywhere.
    CASE
        WHEN t.verdict IS NULL THEN 'pending'
        WHEN t.verdict <> 'applied' THEN 'failed'
        WHEN t.synced_at IS NULL THEN 'executed'
        ELSE 'synced'
    END AS status,
    t.retry_count,
    t.failure_reason AS error_message,
    t.created_at,
    t.synced_at,
    CASE WHEN t.lane NOT IN ('catalog', 'application') THEN t.lane::uuid END AS collection_id
FROM chroma_edge.transactions AS t
-- An application's own operations are no writes.
WHERE t.lane <> 'application';

CREATE RULE emergency_transaction_log_delete AS ON DELETE TO emergency_transaction_log DO INSTEAD NOTHING;
CREATE RULE emergency_transaction_log_update AS ON UPDATE TO emergency_transaction_log DO INSTEAD NOTHING;
CREATE RULE emergency_transaction_log_insert AS ON INSERT TO emergency_transaction_log DO INSTEAD NOTHING;
CREATE RULE collection_id_mapping_delete AS ON DELETE TO collection_id_mapping DO INSTEAD NOTHING;
CREATE RULE collection_id_mapping_update AS ON UPDATE TO collection_id_mapping DO INSTEAD NOTHING;
CREATE RULE collection_id_mapping_insert AS ON INSERT TO collection_id_mapping DO INSTEAD NOTHING;
CREATE RULE pending_recovery_transactions_delete AS ON DELETE TO pending_recovery_transactions DO INSTEAD NOTHING;
CREATE RULE pending_recovery_transactions_update AS ON UPDATE TO pending_recovery_transactions DO INSTEAD NOTHING;
CREATE RULE pending_recovery_transactions_insert AS ON INSERT TO pending_recovery_transactions DO INSTEAD NOTHING;
CREATE RULE transaction_safety_summary_delete AS ON DELETE TO transaction_safety_summary DO INSTEAD NOTHING;
CREATE RULE transaction_safety_summary_update AS ON UPDATE TO transaction_safety_summary DO INSTEAD NOTHING;
CREATE RULE transaction_safety_summary_insert AS ON INSERT TO transaction_safety_summary DO INSTEAD NOTHING;
CREATE RULE unified_wal_writes_delete AS ON DELETE TO unified_wal_writes DO INSTEAD NOTHING;
CREATE RULE unified_wal_writes_update AS ON UPDATE TO unified_wal_writes DO INSTEAD NOTHING;
CREATE RULE unified_wal_writes_insert AS ON INSERT TO unified_wal_writes DO INSTEAD NOTHING;
