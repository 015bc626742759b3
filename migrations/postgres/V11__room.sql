-- What is asked when room is made, at a cost that does not grow with what is stored.

-- What applications' own operations take: their bodies, paths and answers, and why they failed; and how many there are. Kept by
-- triggers, in the same commit as what it counts, whoever writes: so it equals the truth.
CREATE TABLE chroma_edge.application_use (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    operations bigint  NOT NULL,
    bytes      bigint  NOT NULL
) WITH (fillfactor = 10);

CREATE FUNCTION chroma_edge.application_bytes(bytes bigint, path text, failure_reason text, answer_body bytea) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT bytes + length(path) + coalesce(length(failure_reason), 0) + coalesce(octet_length(answer_body), 0)
$$;

INSERT INTO chroma_edge.application_use (operations, bytes)
    SELECT count(*), coalesce(sum(chroma_edge.application_bytes(t.bytes, t.path, t.failure_reason, t.answer_body)), 0)
    FROM chroma_edge.transactions AS t WHERE t.lane = 'application';

CREATE FUNCTION chroma_edge.count_application() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE chroma_edge.application_use AS u SET operations = u.operations + 1,
            bytes = u.bytes + chroma_edge.application_bytes(NEW.bytes, NEW.path, NEW.failure_reason, NEW.answer_body);
    ELSE
        UPDATE chroma_edge.application_use AS u SET
            bytes = u.bytes + chroma_edge.application_bytes(NEW.bytes, NEW.path, NEW.failure_reason, NEW.answer_body)
                - chroma_edge.application_bytes(OLD.bytes, OLD.path, OLD.failure_reason, OLD.answer_body);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION chroma_edge.count_application_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE chroma_edge.application_use AS u SET operations = u.operations - r.n, bytes = u.bytes - r.bytes
    FROM (
        SELECT count(*) AS n,
            sum(chroma_edge.application_bytes(t.bytes, t.path, t.failure_reason, t.answer_body)) AS bytes
        FROM removed AS t WHERE t.lane = 'application'
    ) AS r
    WHERE r.n > 0;
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

-- Deleted collections that some instance may still hold: few, of many.
CREATE INDEX collections_deleted ON chroma_edge.collections (deleted) WHERE deleted IS NOT NULL;
