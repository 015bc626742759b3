-- What each client's own operations take, so that none takes the room of all (decision 0055).

-- Who began an application's own operation, as limits count clients: "token NAME", "address ADDRESS" or "unknown".
ALTER TABLE transactions ADD COLUMN client TEXT;

DROP TRIGGER application_use_insert;
DROP TRIGGER application_use_update;
DROP TRIGGER application_use_delete;
DROP TABLE application_use;

UPDATE transactions SET client = CASE
        WHEN client_tenant >= char(1) AND client_tenant < char(2)
            THEN 'token ' || substr(client_tenant, 2, instr(substr(client_tenant, 2), char(1)) - 1)
        ELSE coalesce('address ' || client_ip, 'unknown') END
    WHERE lane = 'application';

-- Kept by triggers, in the same commit as what it counts, whoever writes: so it equals the truth. Each operation counts its body
-- and path, and why it failed and its answer together: as much as keeps short ones free (`APPLICATION_BYTES`), or what is more.
CREATE TABLE application_use (
    client     TEXT PRIMARY KEY,
    operations INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO application_use
    SELECT client, count(*), sum(bytes + length(path)
        + max(8192, coalesce(length(failure_reason), 0) + coalesce(length(answer_body), 0)))
    FROM transactions INDEXED BY transactions_by_lane WHERE lane = 'application' GROUP BY client;

CREATE TRIGGER application_use_insert AFTER INSERT ON transactions WHEN NEW.lane = 'application' BEGIN
    INSERT INTO application_use (client, operations, bytes)
        VALUES (coalesce(NEW.client, 'unknown'), 1, NEW.bytes + length(NEW.path)
            + max(8192, coalesce(length(NEW.failure_reason), 0) + coalesce(length(NEW.answer_body), 0)))
        ON CONFLICT (client) DO UPDATE SET operations = operations + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER application_use_update AFTER UPDATE OF bytes, path, failure_reason, answer_body ON transactions
WHEN NEW.lane = 'application' BEGIN
    UPDATE application_use SET bytes = bytes
        + NEW.bytes + length(NEW.path)
        + max(8192, coalesce(length(NEW.failure_reason), 0) + coalesce(length(NEW.answer_body), 0))
        - OLD.bytes - length(OLD.path)
        - max(8192, coalesce(length(OLD.failure_reason), 0) + coalesce(length(OLD.answer_body), 0))
    WHERE client = coalesce(NEW.client, 'unknown');
END;

CREATE TRIGGER application_use_delete AFTER DELETE ON transactions WHEN OLD.lane = 'application' BEGIN
    UPDATE application_use SET operations = operations - 1, bytes = bytes - OLD.bytes - length(OLD.path)
        - max(8192, coalesce(length(OLD.failure_reason), 0) + coalesce(length(OLD.answer_body), 0))
    WHERE client = coalesce(OLD.client, 'unknown');
    DELETE FROM application_use WHERE client = coalesce(OLD.client, 'unknown') AND operations = 0;
END;
