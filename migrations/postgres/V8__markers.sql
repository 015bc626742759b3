-- The last marker that each instance's server is known to carry.
CREATE TABLE chroma_edge.markers (
    instance   text   PRIMARY KEY COLLATE "C",
    generation bigint NOT NULL
);
