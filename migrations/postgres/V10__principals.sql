-- Each principal's own transactions, newest first: what a token may list, and count. The scope of a principal's ids is its
-- name between two marks, and the tenant.
CREATE INDEX transactions_by_principal ON chroma_edge.transactions
    (split_part(client_tenant, E'\x01', 2), created_at, seq, kind)
    WHERE starts_with(client_tenant, E'\x01');
