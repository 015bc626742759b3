-- What is asked when room is made, at a cost that does not grow with what is stored.

-- What applications' own operations take: their bodies, paths and answers, and why they failed; and how many there are. Kept by
-- triggers, in the same commit as what it counts, whoever writes: so it equals the truth.
CREATE TABLE application_use (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    operations INTEGER NOT NULL,
    bytes      INTEGER NOT NULL
) STRICT;

INSERT INTO application_use
    SELECT 1, count(*), coalesce(sum(bytes + length(path) + coalesce(length(failure_reason), 0)
        + coalesce(length(answer_body), 0)), 0)
    FROM transactions INDEXED BY transactions_by_lane WHERE lane = 'application';

CREATE TRIGGER application_use_insert AFTER INSERT ON transactions WHEN NEW.lane = 'application' BEGIN
    UPDATE application_use SET operations = operations + 1, bytes = bytes + NEW.bytes + length(NEW.path)
        + coalesce(length(NEW.failure_reason), 0) + coalesce(length(NEW.answer_body), 0);
END;

CREATE TRIGGER application_use_update AFTER UPDATE OF bytes, path, failure_reason, answer_body ON transactions
WHEN NEW.lane = 'application' BEGIN
    UPDATE application_use SET bytes = bytes
        + NEW.bytes + length(NEW.path) + coalesce(length(NEW.failure_reason), 0) + coalesce(length(NEW.answer_body), 0)
        - OLD.bytes - length(OLD.path) - coalesce(length(OLD.failure_reason), 0) - coalesce(length(OLD.answer_body), 0);
END;

CREATE TRIGGER application_use_delete AFTER DELETE ON transactions WHEN OLD.lane = 'application' BEGIN
    UPDATE application_use SET operations = operations - 1, bytes = bytes - OLD.bytes - length(OLD.path)
        - coalesce(length(OLD.failure_reason), 0) - coalesce(length(OLD.answer_body), 0);
END;

-- Deleted collections that some instance may still hold: few, of many.
CREATE INDEX collections_deleted ON collections (deleted) WHERE deleted IS NOT NULL;
