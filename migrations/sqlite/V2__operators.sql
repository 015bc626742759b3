-- What operators ask about: which instances there are and in which order, when a write was everywhere, when a collection
-- came and changed; and how a body is stored.

CREATE TABLE instances (
    instance TEXT    PRIMARY KEY,
    -- The configured order; 0 is the primary. NULL: configured once, and no more.
    position INTEGER
) STRICT, WITHOUT ROWID;

-- When every configured instance had applied or skipped it. Milliseconds since the epoch, as all times here.
ALTER TABLE transactions ADD COLUMN synced_at INTEGER;
-- When recovery tries again, while it waits to.
ALTER TABLE transactions ADD COLUMN next_retry_at INTEGER;

-- 'plain' or 'zstd'; a resolution is always plain.
ALTER TABLE bodies ADD COLUMN encoding TEXT NOT NULL DEFAULT 'plain';

ALTER TABLE collections ADD COLUMN created_at INTEGER;
ALTER TABLE collections ADD COLUMN updated_at INTEGER;
