-- What may have cost an instance its life (docs/rules.md, R13).

-- 'unvouched'; NULL is vouched. And how the write says which records it is about; NULL is not at all.
ALTER TABLE transactions ADD COLUMN vouching TEXT;
ALTER TABLE transactions ADD COLUMN conditions TEXT;
-- The instance that died while it had it: while there is no verdict, no other one gets it.
ALTER TABLE transactions ADD COLUMN suspect_on TEXT;

-- Quarantined, and not yet lifted by an operator. Retention keeps these transactions.
CREATE TABLE quarantines (
    seq  INTEGER PRIMARY KEY REFERENCES transactions (seq) ON DELETE CASCADE,
    lane TEXT    NOT NULL
) STRICT;
