-- The span of the client's request, as in the header traceparent; NULL: nothing was traced. What is done for the write later
-- is linked to it.
ALTER TABLE chroma_edge.transactions ADD COLUMN trace_context text COLLATE "C";
