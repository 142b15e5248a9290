// What each idempotency key of a workspace stands for.

CREATE CONSTRAINT rag_idempotency IF NOT EXISTS FOR (n:Idempotency) REQUIRE (n.workspace, n.key) IS UNIQUE;
CREATE INDEX rag_idempotency_made IF NOT EXISTS FOR (n:Idempotency) ON (n.workspace, n.made_at);
