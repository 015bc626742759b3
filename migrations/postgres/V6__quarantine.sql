-- What may have cost an instance its life (docs/rules.md, R13).

-- vouching: 'unvouched'; NULL is vouched. conditions: how the write says which records it is about; NULL is not at all.
-- suspect_on: the instance that died while it had it: while there is no verdict, no other one gets it.
ALTER TABLE chroma_edge.transactions
    ADD COLUMN vouching   text COLLATE "C",
    ADD COLUMN conditions text COLLATE "C",
    ADD COLUMN suspect_on text COLLATE "C";

-- Quarantined, and not yet lifted by an operator. Retention keeps these transactions.
CREATE TABLE chroma_edge.quarantines (
    seq  bigint PRIMARY KEY,
    lane text   NOT NULL COLLATE "C"
);

-- Whether it is quarantined in a lane that is there: retention leaves it.
CREATE FUNCTION chroma_edge.is_kept(kept bigint) RETURNS boolean
LANGUAGE sql STABLE STRICT AS $$
    SELECT EXISTS (
        SELECT FROM chroma_edge.quarantines AS q WHERE q.seq = kept AND (q.lane = 'catalog' OR EXISTS (
            SELECT FROM chroma_edge.collections AS c WHERE c.collection = q.lane AND c.deleted IS NULL))
    )
$$;
