-- What each client's own operations take, so that none takes the room of all (decision 0055).

-- Who began an application's own operation, as limits count clients: "token NAME", "address ADDRESS" or "unknown".
ALTER TABLE chroma_edge.transactions ADD COLUMN client text;

DROP TRIGGER application_use_insert ON chroma_edge.transactions;
DROP TRIGGER application_use_update ON chroma_edge.transactions;
DROP TRIGGER application_use_delete ON chroma_edge.transactions;
DROP TABLE chroma_edge.application_use;

UPDATE chroma_edge.transactions SET client = CASE
        WHEN starts_with(client_tenant, E'\x01') THEN 'token ' || split_part(client_tenant, E'\x01', 2)
        ELSE coalesce('address ' || client_ip, 'unknown') END
    WHERE lane = 'application';

-- Each operation counts its body and path, and why it failed and its answer together: as much as keeps short ones free
-- (`APPLICATION_BYTES`), or what is more.
CREATE OR REPLACE FUNCTION chroma_edge.application_bytes(bytes bigint, path text, failure_reason text, answer_body bytea)
RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT bytes + length(path)
        + greatest(8192, coalesce(length(failure_reason), 0) + coalesce(octet_length(answer_body), 0))
$$;

-- Kept by triggers, in the same commit as what it counts, whoever writes: so it equals the truth.
CREATE TABLE chroma_edge.application_use (
    client     text   PRIMARY KEY,
    operations bigint NOT NULL,
    bytes      bigint NOT NULL
) WITH (fillfactor = 50);

INSERT INTO chroma_edge.application_use (client, operations, bytes)
    SELECT t.client, count(*), sum(chroma_edge.application_bytes(t.bytes, t.path, t.failure_reason, t.answer_body))
    FROM chroma_edge.transactions AS t WHERE t.lane = 'application' GROUP BY t.client;

CREATE OR REPLACE FUNCTION chroma_edge.count_application() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO chroma_edge.application_use AS u (client, operations, bytes) VALUES (coalesce(NEW.client, 'unknown'), 1,
            chroma_edge.application_bytes(NEW.bytes, NEW.path, NEW.failure_reason, NEW.answer_body))
            ON CONFLICT (client) DO UPDATE SET operations = u.operations + 1, bytes = u.bytes + excluded.bytes;
    ELSE
        UPDATE chroma_edge.application_use AS u SET
            bytes = u.bytes + chroma_edge.application_bytes(NEW.bytes, NEW.path, NEW.failure_reason, NEW.answer_body)
                - chroma_edge.application_bytes(OLD.bytes, OLD.path, OLD.failure_reason, OLD.answer_body)
            WHERE u.client = coalesce(NEW.client, 'unknown');
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION chroma_edge.count_application_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE chroma_edge.application_use AS u SET operations = u.operations - r.n, bytes = u.bytes - r.bytes
    FROM (
        SELECT coalesce(t.client, 'unknown') AS client, count(*) AS n,
            sum(chroma_edge.application_bytes(t.bytes, t.path, t.failure_reason, t.answer_body)) AS bytes
        FROM removed AS t WHERE t.lane = 'application' GROUP BY 1
    ) AS r
    WHERE u.client = r.client;
    IF FOUND THEN
        DELETE FROM chroma_edge.application_use AS u WHERE u.operations = 0;
    END IF;
    RETURN NULL;
END
$$;

-- Row by row where few rows are an application's: nobody else's commit asks for more than that.
CREATE TRIGGER application_use_insert AFTER INSERT ON chroma_edge.transactions
    FOR EACH ROW WHEN (NEW.lane = 'application') EXECUTE FUNCTION chroma_edge.count_application();
CREATE TRIGGER application_use_update AFTER UPDATE OF bytes, path, failure_reason, answer_body ON chroma_edge.transactions
    FOR EACH ROW WHEN (NEW.lane = 'application') EXECUTE FUNCTION chroma_edge.count_application();
CREATE TRIGGER application_use_delete AFTER DELETE ON chroma_edge.transactions
    REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION chroma_edge.count_application_deleted();
