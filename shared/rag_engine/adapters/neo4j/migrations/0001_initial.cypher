// Every node carries the number of its workspace; ids are unique within one.

CREATE CONSTRAINT rag_migration IF NOT EXISTS FOR (n:Migration) REQUIRE n.number IS UNIQUE;
CREATE CONSTRAINT rag_system IF NOT EXISTS FOR (n:System) REQUIRE n.id IS UNIQUE;
CREATE CONSTRAINT rag_workspace_name IF NOT EXISTS FOR (n:Workspace) REQUIRE (n.namespace, n.name) IS UNIQUE;
CREATE CONSTRAINT rag_workspace_number IF NOT EXISTS FOR (n:Workspace) REQUIRE n.number IS UNIQUE;
CREATE CONSTRAINT rag_queue IF NOT EXISTS FOR (n:Queue) REQUIRE n.workspace IS UNIQUE;
CREATE CONSTRAINT rag_key IF NOT EXISTS FOR (n:Key) REQUIRE (n.namespace, n.id) IS UNIQUE;
CREATE CONSTRAINT rag_chore IF NOT EXISTS FOR (n:Chore) REQUIRE (n.namespace, n.name) IS UNIQUE;

CREATE CONSTRAINT rag_document IF NOT EXISTS FOR (n:Document) REQUIRE (n.workspace, n.id) IS UNIQUE;
CREATE CONSTRAINT rag_version IF NOT EXISTS FOR (n:Version) REQUIRE (n.workspace, n.document_id, n.number) IS UNIQUE;
CREATE INDEX rag_version_requested IF NOT EXISTS FOR (n:Version) ON (n.workspace, n.requested_at);
CREATE INDEX rag_version_content IF NOT EXISTS FOR (n:Version) ON (n.content_hash);
CREATE INDEX rag_version_parsed IF NOT EXISTS FOR (n:Version) ON (n.parsed_hash);
CREATE INDEX rag_job_requested IF NOT EXISTS FOR (n:Job) ON (n.workspace, n.requested_at);
CREATE INDEX rag_job_claimable IF NOT EXISTS FOR (n:Job) ON (n.workspace, n.status, n.claimable_at);
CREATE INDEX rag_job_process IF NOT EXISTS FOR (n:Job) ON (n.process);

CREATE CONSTRAINT rag_version_record IF NOT EXISTS FOR (n:VersionRecord) REQUIRE (n.workspace, n.row) IS UNIQUE;
CREATE INDEX rag_version_shown IF NOT EXISTS FOR (n:VersionRecord) ON (n.workspace, n.shown_at);
CREATE INDEX rag_version_gone IF NOT EXISTS FOR (n:VersionRecord) ON (n.workspace, n.gone_at);
CREATE CONSTRAINT rag_chunk_record IF NOT EXISTS FOR (n:ChunkRecord) REQUIRE (n.workspace, n.row) IS UNIQUE;
CREATE INDEX rag_chunk_version IF NOT EXISTS FOR (n:ChunkRecord) ON (n.workspace, n.version);
CREATE INDEX rag_chunk_shown IF NOT EXISTS FOR (n:ChunkRecord) ON (n.workspace, n.shown_at);
CREATE INDEX rag_chunk_gone IF NOT EXISTS FOR (n:ChunkRecord) ON (n.workspace, n.gone_at);
CREATE INDEX rag_chunk_edited IF NOT EXISTS FOR (n:Edited) ON (n.workspace);
CREATE CONSTRAINT rag_staged_name IF NOT EXISTS FOR (n:StagedName) REQUIRE (n.workspace, n.version, n.id) IS UNIQUE;

CREATE CONSTRAINT rag_entity IF NOT EXISTS FOR (n:Entity) REQUIRE (n.workspace, n.id) IS UNIQUE;
CREATE CONSTRAINT rag_value IF NOT EXISTS FOR (n:Value) REQUIRE (n.workspace, n.owner, n.kind, n.hash) IS UNIQUE;
CREATE INDEX rag_edit IF NOT EXISTS FOR (n:Edit) ON (n.workspace, n.id);
