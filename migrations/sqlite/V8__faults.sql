-- Lanes in which a step of the board has panicked: the process ended each time, and one in which it happens again starts
-- halted.
CREATE TABLE faults (
    lane   TEXT    PRIMARY KEY,
    -- In a row, with less than an hour between two.
    times  INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    reason TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
