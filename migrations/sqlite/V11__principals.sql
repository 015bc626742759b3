-- Each principal's own transactions, newest first: what a token may list, and count. The scope of a principal's ids is its
-- name between two marks, and the tenant.
CREATE INDEX transactions_by_principal ON transactions
    (substr(client_tenant, 1, instr(substr(client_tenant, 2), char(1)) + 1), created_at, seq, kind, status)
    WHERE client_tenant >= char(1) AND client_tenant < char(2);
