-- Lanes in which a step of the board has panicked: the process ended each time, and one in which it happens again starts
-- halted.
CREATE TABLE chroma_edge.faults (
    lane   text        PRIMARY KEY COLLATE "C",
    -- In a row, with less than an hour between two.
    times  bigint      NOT NULL,
    at     timestamptz NOT NULL,
    reason text        NOT NULL COLLATE "C"
);
