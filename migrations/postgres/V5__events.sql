-- What is told to those who watch: each change of a transaction that its client may want to hear of, numbered in the order
-- in which the changes became durable. Kept by triggers, in the same commit as the change, whoever writes: so that no
-- change is without its event, and none has two. Commits hold the journal's row until their end, hence their numbers are in
-- their order.

-- The last number given out; the last event that retention has removed; up to where the webhook has accepted them (NULL:
-- none was ever configured).
ALTER TABLE chroma_edge.journal ADD COLUMN last_event bigint NOT NULL DEFAULT 0,
    ADD COLUMN forgotten_event bigint NOT NULL DEFAULT 0,
    ADD COLUMN delivered_event bigint;

CREATE TABLE chroma_edge.events (
    event          bigint PRIMARY KEY,
    seq            bigint NOT NULL,
    -- The status that the transaction came to.
    status         text   NOT NULL COLLATE "C",
    client_session text   COLLATE "C"
);

CREATE INDEX events_by_transaction ON chroma_edge.events (seq, event);
CREATE INDEX events_by_session ON chroma_edge.events (client_session, event) WHERE client_session IS NOT NULL;

-- Told "pending" (an application's operation may fail often; that is one event), and ended. What a commit has changed
-- twice comes here once: an end after a gap brings the gap's event with it. Old and new are grouped, not joined: the plan
-- is made once, for however few rows there were then.
CREATE FUNCTION chroma_edge.note_events() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    noted bigint;
BEGIN
    INSERT INTO chroma_edge.events (event, seq, status, client_session)
        SELECT j.last_event + row_number() OVER (ORDER BY n.seq, n.step), n.seq, n.status,
            CASE WHEN length(n.client_session) <= 255 THEN n.client_session END
        FROM (
            SELECT c.seq, s.step, CASE s.step WHEN 0 THEN 'FAILED' ELSE c.became END AS status, c.client_session
            FROM (
                SELECT seq, max(became) AS became, max(was) AS was, max(client_session) AS client_session,
                    bool_or(timing_gap) AS timing_gap
                FROM (
                    SELECT seq, status AS became, NULL AS was, client_session, timing_gap FROM added
                    UNION ALL
                    SELECT seq, NULL, status, NULL, NULL FROM removed
                ) AS both_sides
                GROUP BY seq
            ) AS c
            CROSS JOIN (VALUES (0), (1)) AS s (step)
            WHERE c.was IN ('ATTEMPTING', 'FAILED') AND CASE s.step
                WHEN 0 THEN c.timing_gap AND c.became IN ('FAILED', 'RECOVERED', 'ABANDONED')
                    AND NOT EXISTS (SELECT FROM chroma_edge.events AS e WHERE e.seq = c.seq)
                ELSE c.became IN ('COMPLETED', 'RECOVERED', 'ABANDONED') END
        ) AS n
        CROSS JOIN chroma_edge.journal AS j;
    GET DIAGNOSTICS noted = ROW_COUNT;
    IF noted > 0 THEN
        UPDATE chroma_edge.journal SET last_event = last_event + noted;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION chroma_edge.forget_events() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    WITH gone AS (
        DELETE FROM chroma_edge.events WHERE seq = ANY (ARRAY(SELECT seq FROM removed)) RETURNING event
    )
    UPDATE chroma_edge.journal AS j SET forgotten_event = g.event FROM (SELECT max(event) AS event FROM gone) AS g
        WHERE g.event > j.forgotten_event;
    RETURN NULL;
END
$$;

CREATE TRIGGER events_update AFTER UPDATE ON chroma_edge.transactions
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION chroma_edge.note_events();
CREATE TRIGGER events_delete AFTER DELETE ON chroma_edge.transactions
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION chroma_edge.forget_events();
