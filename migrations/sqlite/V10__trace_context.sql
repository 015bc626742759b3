-- The span of the client's request, as in the header traceparent; NULL: nothing was traced. What is done for the write later
-- is linked to it.
ALTER TABLE transactions ADD COLUMN trace_context TEXT;
