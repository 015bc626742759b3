-- What applications and operators ask about transactions: by time, by session, by the id a client brought; how many there
-- are. And an application's own operations: transactions of kind and lane 'application', which no instance executes.

-- The number of transactions by hour of creation, status and kind, with sums for averages. Kept by triggers, in the same
-- commit as what they count, whoever writes: so it equals the truth, and is small however many transactions there are.
CREATE TABLE statistics (
    -- Hours since the epoch.
    hour              INTEGER NOT NULL,
    status            TEXT    NOT NULL,
    kind              TEXT    NOT NULL,
    transactions      INTEGER NOT NULL,
    timing_gaps       INTEGER NOT NULL,
    retries           INTEGER NOT NULL,
    completed         INTEGER NOT NULL,
    completion_millis INTEGER NOT NULL,
    PRIMARY KEY (hour, status, kind)
) STRICT, WITHOUT ROWID;

INSERT INTO statistics
    SELECT created_at / 3600000, status, kind, count(*), sum(timing_gap), sum(retry_count), count(completed_at),
        coalesce(sum(max(completed_at - created_at, 0)), 0)
    FROM transactions GROUP BY 1, 2, 3;

CREATE TRIGGER statistics_insert AFTER INSERT ON transactions BEGIN
    INSERT INTO statistics VALUES (NEW.created_at / 3600000, NEW.status, NEW.kind, 1, NEW.timing_gap, NEW.retry_count,
        NEW.completed_at IS NOT NULL, coalesce(max(NEW.completed_at - NEW.created_at, 0), 0))
    ON CONFLICT DO UPDATE SET transactions = transactions + 1, timing_gaps = timing_gaps + excluded.timing_gaps,
        retries = retries + excluded.retries, completed = completed + excluded.completed,
        completion_millis = completion_millis + excluded.completion_millis;
END;

CREATE TRIGGER statistics_update
AFTER UPDATE OF status, kind, created_at, completed_at, timing_gap, retry_count ON transactions BEGIN
    UPDATE statistics SET transactions = transactions - 1, timing_gaps = timing_gaps - OLD.timing_gap,
        retries = retries - OLD.retry_count, completed = completed - (OLD.completed_at IS NOT NULL),
        completion_millis = completion_millis - coalesce(max(OLD.completed_at - OLD.created_at, 0), 0)
    WHERE hour = OLD.created_at / 3600000 AND status = OLD.status AND kind = OLD.kind;
    INSERT INTO statistics VALUES (NEW.created_at / 3600000, NEW.status, NEW.kind, 1, NEW.timing_gap, NEW.retry_count,
        NEW.completed_at IS NOT NULL, coalesce(max(NEW.completed_at - NEW.created_at, 0), 0))
    ON CONFLICT DO UPDATE SET transactions = transactions + 1, timing_gaps = timing_gaps + excluded.timing_gaps,
        retries = retries + excluded.retries, completed = completed + excluded.completed,
        completion_millis = completion_millis + excluded.completion_millis;
    DELETE FROM statistics
    WHERE hour = OLD.created_at / 3600000 AND status = OLD.status AND kind = OLD.kind AND transactions = 0;
END;

CREATE TRIGGER statistics_delete AFTER DELETE ON transactions BEGIN
    UPDATE statistics SET transactions = transactions - 1, timing_gaps = timing_gaps - OLD.timing_gap,
        retries = retries - OLD.retry_count, completed = completed - (OLD.completed_at IS NOT NULL),
        completion_millis = completion_millis - coalesce(max(OLD.completed_at - OLD.created_at, 0), 0)
    WHERE hour = OLD.created_at / 3600000 AND status = OLD.status AND kind = OLD.kind;
    DELETE FROM statistics
    WHERE hour = OLD.created_at / 3600000 AND status = OLD.status AND kind = OLD.kind AND transactions = 0;
END;

-- Lists are newest first, by time and then by position. Each index covers what is counted and what it is filtered by.
DROP INDEX transactions_by_status;
CREATE INDEX transactions_by_status ON transactions (status, created_at, seq, kind);
CREATE INDEX transactions_by_time ON transactions (created_at, seq, kind);
CREATE INDEX transactions_by_session ON transactions (client_session, created_at, seq, kind, status)
    WHERE client_session IS NOT NULL;
CREATE INDEX transactions_timing_gaps ON transactions (created_at) WHERE timing_gap = 1;
CREATE INDEX transactions_application ON transactions (completed_at)
    WHERE lane = 'application' AND completed_at IS NOT NULL;

-- The key first: it is asked for without its tenant too.
DROP INDEX transactions_by_client_key;
CREATE UNIQUE INDEX transactions_by_client_key ON transactions (client_key, client_tenant)
    WHERE client_key IS NOT NULL;
