-- How urgent the client said its write is: high, normal or low; NULL is normal. Recovery goes by it across lanes.
ALTER TABLE transactions ADD COLUMN priority TEXT;
