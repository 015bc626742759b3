-- Views for operators, under the names and columns that their queries use. They are for reading: a DELETE, an UPDATE or
-- an INSERT succeeds and changes nothing, because old clean-up scripts run them. PostgreSQL has the same views.
--
-- Times are UTC, 'YYYY-MM-DD HH:MM:SS.mmm', so that they compare with datetime('now', '-24 hours').

-- Whether the bytes are UTF-8, which no expression here can tell: bytes that are not must not be read as text.
ALTER TABLE bodies ADD COLUMN utf8 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transactions ADD COLUMN answer_utf8 INTEGER NOT NULL DEFAULT 0;

CREATE VIEW emergency_transaction_log AS
SELECT
    lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-'
        || substr(h, 21)) AS transaction_id,
    client_session,
    client_ip,
    method,
    path,
    -- The body as received. What is no JSON, or is compressed, is described and not shown.
    (SELECT CASE
        WHEN encoding <> 'plain' THEN json_object('encoding', encoding, 'bytes', t.bytes)
        WHEN utf8 AND instr(body, x'00') = 0 AND json_valid(CAST(body AS TEXT)) THEN CAST(body AS TEXT)
        ELSE json_object('json', json('false'), 'bytes', length(body))
     END FROM bodies WHERE bodies.seq = t.seq) AS data,
    CASE WHEN content_type IS NULL THEN '{}' ELSE json_object('content-type', content_type) END AS headers,
    status,
    failure_reason,
    response_status,
    CASE
        WHEN answer_body IS NULL THEN NULL
        WHEN answer_utf8 AND instr(answer_body, x'00') = 0 AND json_valid(CAST(answer_body AS TEXT))
            THEN CAST(answer_body AS TEXT)
        ELSE json_object('json', json('false'), 'bytes', length(answer_body))
    END AS response_data,
    strftime('%Y-%m-%d %H:%M:%S', created_at / 1000, 'unixepoch') || printf('.%03d', created_at % 1000) AS created_at,
    strftime('%Y-%m-%d %H:%M:%S', completed_at / 1000, 'unixepoch') || printf('.%03d', completed_at % 1000)
        AS completed_at,
    retry_count,
    -- What docs/rules.md calls R10 allows, on each healthy instance.
    3 AS max_retries,
    strftime('%Y-%m-%d %H:%M:%S', next_retry_at / 1000, 'unixepoch') || printf('.%03d', next_retry_at % 1000)
        AS next_retry_at,
    timing_gap AS is_timing_gap_failure,
    -- Whose verdict it is; NULL while there is none. A write that is applied goes to every instance.
    executed_on AS target_instance,
    kind AS operation_type,
    user_identifier
FROM (SELECT *, hex(transaction_id) AS h FROM transactions) AS t;

CREATE VIEW collection_id_mapping AS
SELECT
    c.name AS collection_name,
    (SELECT lower(substr(hex(i.instance_collection_id), 1, 8) || '-' || substr(hex(i.instance_collection_id), 9, 4) || '-'
        || substr(hex(i.instance_collection_id), 13, 4) || '-' || substr(hex(i.instance_collection_id), 17, 4) || '-'
        || substr(hex(i.instance_collection_id), 21))
     FROM collection_instances AS i JOIN instances USING (instance)
     WHERE i.collection = c.collection AND position = 0) AS primary_collection_id,
    (SELECT lower(substr(hex(i.instance_collection_id), 1, 8) || '-' || substr(hex(i.instance_collection_id), 9, 4) || '-'
        || substr(hex(i.instance_collection_id), 13, 4) || '-' || substr(hex(i.instance_collection_id), 17, 4) || '-'
        || substr(hex(i.instance_collection_id), 21))
     FROM collection_instances AS i JOIN instances USING (instance)
     WHERE i.collection = c.collection AND position = 1) AS replica_collection_id,
    strftime('%Y-%m-%d %H:%M:%S', c.created_at / 1000, 'unixepoch') || printf('.%03d', c.created_at % 1000)
        AS created_at,
    strftime('%Y-%m-%d %H:%M:%S', c.updated_at / 1000, 'unixepoch') || printf('.%03d', c.updated_at % 1000)
        AS updated_at,
    c.tenant AS tenant,
    c.database AS database,
    c.collection AS collection_id
FROM collections AS c
WHERE c.deleted IS NULL;

-- What has no verdict yet: recovery finishes it, unless an attempt under way does.
CREATE VIEW pending_recovery_transactions AS
SELECT
    lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-'
        || substr(h, 21)) AS transaction_id,
    method,
    path,
    status,
    failure_reason,
    retry_count,
    3 AS max_retries,
    strftime('%Y-%m-%d %H:%M:%S', next_retry_at / 1000, 'unixepoch') || printf('.%03d', next_retry_at % 1000)
        AS next_retry_at,
    strftime('%Y-%m-%d %H:%M:%S', created_at / 1000, 'unixepoch') || printf('.%03d', created_at % 1000) AS created_at,
    timing_gap AS is_timing_gap_failure,
    kind AS operation_type,
    CASE WHEN lane <> 'catalog' THEN lane END AS collection_id
FROM (SELECT *, hex(transaction_id) AS h FROM transactions WHERE verdict IS NULL AND lane <> 'application')
WHERE status IN ('ATTEMPTING', 'FAILED');

CREATE VIEW transaction_safety_summary AS
SELECT
    status,
    count(*) AS transaction_count,
    sum(timing_gap) AS timing_gap_failures,
    strftime('%Y-%m-%d %H:%M:%S', min(created_at) / 1000, 'unixepoch') || printf('.%03d', min(created_at) % 1000)
        AS oldest_transaction,
    strftime('%Y-%m-%d %H:%M:%S', max(created_at) / 1000, 'unixepoch') || printf('.%03d', max(created_at) % 1000)
        AS newest_transaction,
    avg(retry_count) AS avg_retry_count,
    avg((completed_at - created_at) / 1000.0) AS avg_completion_seconds
FROM transactions
GROUP BY status;

CREATE VIEW unified_wal_writes AS
SELECT
    lower(substr(h, 1, 8) || '-' || substr(h, 9, 4) || '-' || substr(h, 13, 4) || '-' || substr(h, 17, 4) || '-'
        || substr(h, 21)) AS write_id,
    method,
    path,
    -- Every write goes to every instance.
    'all' AS target_instance,
    executed_on,
    -- synced: every configured instance has it. failed: it has no effect anywhere.
    CASE
        WHEN verdict IS NULL THEN 'pending'
        WHEN verdict <> 'applied' THEN 'failed'
        WHEN synced_at IS NULL THEN 'executed'
        ELSE 'synced'
    END AS status,
    retry_count,
    failure_reason AS error_message,
    strftime('%Y-%m-%d %H:%M:%S', created_at / 1000, 'unixepoch') || printf('.%03d', created_at % 1000) AS created_at,
    strftime('%Y-%m-%d %H:%M:%S', synced_at / 1000, 'unixepoch') || printf('.%03d', synced_at % 1000) AS synced_at,
    CASE WHEN lane <> 'catalog' THEN lane END AS collection_id
FROM (SELECT *, hex(transaction_id) AS h FROM transactions WHERE lane <> 'application');

CREATE TRIGGER emergency_transaction_log_delete INSTEAD OF DELETE ON emergency_transaction_log WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER emergency_transaction_log_update INSTEAD OF UPDATE ON emergency_transaction_log WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER emergency_transaction_log_insert INSTEAD OF INSERT ON emergency_transaction_log WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER collection_id_mapping_delete INSTEAD OF DELETE ON collection_id_mapping WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER collection_id_mapping_update INSTEAD OF UPDATE ON collection_id_mapping WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER collection_id_mapping_insert INSTEAD OF INSERT ON collection_id_mapping WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER pending_recovery_transactions_delete INSTEAD OF DELETE ON pending_recovery_transactions WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER pending_recovery_transactions_update INSTEAD OF UPDATE ON pending_recovery_transactions WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER pending_recovery_transactions_insert INSTEAD OF INSERT ON pending_recovery_transactions WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER transaction_safety_summary_delete INSTEAD OF DELETE ON transaction_safety_summary WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER transaction_safety_summary_update INSTEAD OF UPDATE ON transaction_safety_summary WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER transaction_safety_summary_insert INSTEAD OF INSERT ON transaction_safety_summary WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER unified_wal_writes_delete INSTEAD OF DELETE ON unified_wal_writes WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER unified_wal_writes_update INSTEAD OF UPDATE ON unified_wal_writes WHEN 0 BEGIN SELECT NULL; END;
CREATE TRIGGER unified_wal_writes_insert INSTEAD OF INSERT ON unified_wal_writes WHEN 0 BEGIN SELECT NULL; END;
