-- The order in which entities are listed.
CREATE INDEX entity_mentions ON entity (mentions DESC, id);
