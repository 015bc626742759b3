-- The last marker that each instance's server is known to carry.
CREATE TABLE markers (
    instance   TEXT    PRIMARY KEY,
    generation INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
