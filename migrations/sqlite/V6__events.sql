-- What is told to those who watch: each change of a transaction that its client may want to hear of, numbered in the order
-- in which the changes became durable. Kept by triggers, in the same commit as the change, whoever writes: so that no
-- change is without its event, and none has two.

-- The last number given out: kept here so that no number is given out twice, whatever was removed.
ALTER TABLE meta ADD COLUMN last_event INTEGER NOT NULL DEFAULT 0;
-- The last event that retention has removed: what came after it is complete.
ALTER TABLE meta ADD COLUMN forgotten_event INTEGER NOT NULL DEFAULT 0;
-- Up to here the webhook has accepted them. NULL: none was ever configured.
ALTER TABLE meta ADD COLUMN delivered_event INTEGER;

CREATE TABLE events (
    event          INTEGER PRIMARY KEY,
    seq            INTEGER NOT NULL REFERENCES transactions (seq) ON DELETE CASCADE,
    -- The status that the transaction came to.
    status         TEXT    NOT NULL,
    -- Longer ones cannot be listened to.
    client_session TEXT CHECK (length(client_session) <= 255)
) STRICT;

CREATE INDEX events_by_transaction ON events (seq, event);
CREATE INDEX events_by_session ON events (client_session, event) WHERE client_session IS NOT NULL;

-- Told "pending". An application's operation may fail often; that is one event.
CREATE TRIGGER events_pending AFTER UPDATE OF status, timing_gap ON transactions
WHEN NEW.status = 'FAILED' AND NEW.timing_gap = 1
    AND NOT EXISTS (SELECT 1 FROM events WHERE seq = NEW.seq) BEGIN
    UPDATE meta SET last_event = last_event + 1;
    INSERT INTO events SELECT last_event, NEW.seq, NEW.status,
        CASE WHEN length(NEW.client_session) <= 255 THEN NEW.client_session END FROM meta;
END;

-- An end after a gap that nobody noted brings the gap's event with it.
CREATE TRIGGER events_final AFTER UPDATE OF status ON transactions
WHEN OLD.status IN ('ATTEMPTING', 'FAILED') AND NEW.status IN ('COMPLETED', 'RECOVERED', 'ABANDONED') BEGIN
    INSERT INTO events SELECT last_event + 1, NEW.seq, 'FAILED',
        CASE WHEN length(NEW.client_session) <= 255 THEN NEW.client_session END FROM meta
    WHERE NEW.timing_gap = 1 AND NEW.status <> 'COMPLETED' AND NOT EXISTS (SELECT 1 FROM events WHERE seq = NEW.seq);
    UPDATE meta SET last_event = last_event + changes();
    UPDATE meta SET last_event = last_event + 1;
    INSERT INTO events SELECT last_event, NEW.seq, NEW.status,
        CASE WHEN length(NEW.client_session) <= 255 THEN NEW.client_session END FROM meta;
END;

CREATE TRIGGER events_forgotten AFTER DELETE ON events BEGIN
    UPDATE meta SET forgotten_event = max(forgotten_event, OLD.event);
END;
