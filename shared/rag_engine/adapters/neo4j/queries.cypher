// `W0` stands for the label of the workspace, see `for_workspace`; `$workspace` is always given.
// Labels are set and taken in one statement, `label`, which is planned for each workspace anew.
// An index over several properties is used only where each has a condition, if only `IS NOT NULL`.
// What is deleted while a statement reads it has no properties from then on, and `collect` drops nulls.
// Nothing newer than Neo4j 5.15. `Record` labels are what readers read, the plain ones what people do:
// a chunk that was replaced stays a `ChunkRecord` for a while and is no `Chunk` any more.

// ---------------------------------------------------------------- server, schema, workspaces

// name: ping
RETURN 1 AS one;

// name: server_time
RETURN datetime.realtime().epochMillis AS milliseconds;

// name: components
CALL dbms.components() YIELD name, versions WHERE name = 'Neo4j Kernel' RETURN versions[0] AS version;

// name: applied_migrations
MATCH (m:Migration) RETURN max(m.number) AS latest;

// name: record_migration
MERGE (m:Migration {number: $number}) ON CREATE SET m.name = $name, m.applied_at = datetime.realtime();

// name: workspaces
MATCH (w:Workspace {namespace: $namespace}) RETURN w.name AS name ORDER BY name;

// name: workspace
MATCH (w:Workspace {namespace: $namespace, name: $name}) RETURN properties(w) AS workspace;

// name: lock_system
MERGE (s:System {id: 1}) ON CREATE SET s.workspaces = 0
SET s.locked = $token
RETURN s.workspaces AS workspaces;

// name: add_workspace
MATCH (s:System {id: 1})
SET s.workspaces = s.workspaces + 1
CREATE (w:Workspace {namespace: $namespace, name: $name, number: s.workspaces, state: [0, 0, 0, 0]})
CREATE (:Queue {workspace: s.workspaces, epoch: 0})
SET w += $made_with
RETURN properties(w) AS workspace;

// name: delete_workspace
MATCH (w:Workspace {namespace: $namespace, name: $name})
SET w:DeletedWorkspace, w.deleted_by = $attempt, w.deleted_at = datetime.realtime().epochMillis
REMOVE w:Workspace
WITH w MATCH (q:Queue {workspace: w.number}) DELETE q
RETURN w.number AS number;

// name: deleted_by
MATCH (w:DeletedWorkspace {namespace: $namespace, deleted_by: $attempt}) RETURN w.number AS number;

// name: deleted_workspaces
MATCH (w:DeletedWorkspace {namespace: $namespace})
RETURN w.number AS number, datetime.realtime().epochMillis - w.deleted_at AS milliseconds;

// name: remove_some
CALL { MATCH (n:Document) WHERE n.workspace = $workspace AND n.id IS NOT NULL RETURN n LIMIT $limit
       UNION MATCH (n:Version) WHERE n.workspace = $workspace AND n.requested_at > -1 RETURN n LIMIT $limit
       UNION MATCH (n:VersionRecord) WHERE n.workspace = $workspace AND n.row IS NOT NULL RETURN n LIMIT $limit
       UNION MATCH (n:ChunkRecord) WHERE n.workspace = $workspace AND n.row IS NOT NULL RETURN n LIMIT $limit
       UNION MATCH (n:StagedName) WHERE n.workspace = $workspace AND n.version > -1 AND n.id IS NOT NULL
       RETURN n LIMIT $limit
       UNION MATCH (n:Entity) WHERE n.workspace = $workspace AND n.id IS NOT NULL RETURN n LIMIT $limit
       UNION MATCH (n:Value) WHERE n.workspace = $workspace AND n.owner IS NOT NULL AND n.kind IS NOT NULL
         AND n.hash IS NOT NULL RETURN n LIMIT $limit
       UNION MATCH (n:Edit) WHERE n.workspace = $workspace AND n.id IS NOT NULL RETURN n LIMIT $limit
       UNION MATCH (n:Idempotency) WHERE n.workspace = $workspace AND n.key IS NOT NULL RETURN n LIMIT $limit
       UNION MATCH (n:Pin) WHERE n.workspace = $workspace RETURN n LIMIT $limit }
WITH n LIMIT $limit
DETACH DELETE n
RETURN count(*) AS removed;

// name: forget_deleted
MATCH (w:DeletedWorkspace {namespace: $namespace, number: $number}) DELETE w;

// name: drop_text_index
DROP INDEX rag_words_w0 IF EXISTS;

// name: lock_workspace
MATCH (w:Workspace {number: $workspace})
SET w.locked = $token
RETURN w.state AS state;

// name: holds_vectors
CALL { MATCH (c:ChunkRecord) WHERE c.workspace = $workspace AND c.version > 0 AND c.gone_at IS NULL
       RETURN c.row AS row LIMIT 1
       UNION ALL
       MATCH (x:Edit) WHERE x.workspace = $workspace AND x.id IS NOT NULL AND x.gone_at IS NULL
       RETURN x.shown_at AS row LIMIT 1 }
RETURN row LIMIT 1;

// name: set_made_with
MATCH (w:Workspace {number: $workspace}) SET w += $made_with;

// name: make_vector_index
CREATE VECTOR INDEX rag_chunks_w0 IF NOT EXISTS FOR (n:Indexed_w0) ON (n.embedding)
OPTIONS {indexConfig: {`vector.dimensions`: $dimensions, `vector.similarity_function`: 'cosine'}};

// name: make_exact_vector_index
CREATE VECTOR INDEX rag_chunks_w0 IF NOT EXISTS FOR (n:Indexed_w0) ON (n.embedding)
OPTIONS {indexConfig: {`vector.dimensions`: $dimensions, `vector.similarity_function`: 'cosine',
                       `vector.quantization.enabled`: false}};

// name: make_text_index
CREATE FULLTEXT INDEX rag_words_w0 IF NOT EXISTS FOR (n:Indexed_w0) ON EACH [n.lexemes]
OPTIONS {indexConfig: {`fulltext.analyzer`: 'whitespace'}};

// name: width_of_vector_index
SHOW INDEXES YIELD name, options WHERE name = 'rag_chunks_w0'
RETURN options.indexConfig['vector.dimensions'] AS width;

// name: drop_vector_index
DROP INDEX rag_chunks_w0 IF EXISTS;

// name: named_blobs
MATCH (w:Workspace {namespace: $namespace})
WITH collect(w.number) AS numbers
UNWIND $hashes AS hash
CALL { WITH hash, numbers
       MATCH (v:Version) WHERE v.content_hash = hash AND v.workspace IN numbers RETURN v LIMIT 1
       UNION
       WITH hash, numbers
       MATCH (v:Version) WHERE v.parsed_hash = hash AND v.workspace IN numbers RETURN v LIMIT 1 }
RETURN DISTINCT hash;

// name: any_workspace
MATCH (w:Workspace {namespace: $namespace}) RETURN w.number AS number LIMIT 1;

// name: keys
MATCH (k:Key {namespace: $namespace}) RETURN k {.*} AS key ORDER BY k.made_at, k.id;

// name: add_key
MERGE (k:Key {namespace: $namespace, id: $id}) SET k += $values;

// name: remove_key
MATCH (k:Key {namespace: $namespace, id: $id}) DELETE k RETURN $id AS id;

// name: reserve_key
WITH coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now
MATCH (w:Workspace {namespace: $namespace, name: $name})
MERGE (r:Idempotency {workspace: w.number, key: $key})
ON CREATE SET r.fingerprint = $fingerprint, r.made_at = now
SET r.locked = $token
WITH r, now, r.made_at <= now - $seconds AS outdated
FOREACH (one IN CASE WHEN outdated THEN [r] ELSE [] END |
  SET one.fingerprint = $fingerprint, one.made_at = now REMOVE one.answer)
RETURN r.fingerprint AS fingerprint, r.answer AS answer;

// name: settle_key
WITH coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now
MATCH (w:Workspace {namespace: $namespace, name: $name})
MERGE (r:Idempotency {workspace: w.number, key: $key})
ON CREATE SET r.fingerprint = $fingerprint, r.made_at = now
SET r.locked = $token
WITH r, r.fingerprint = $fingerprint AND r.answer IS NULL AS unanswered
FOREACH (one IN CASE WHEN unanswered THEN [r] ELSE [] END | SET one.answer = $answer)
RETURN r.fingerprint AS fingerprint, r.answer AS answer;

// name: release_key
MATCH (w:Workspace {namespace: $namespace, name: $name})
MATCH (r:Idempotency {workspace: w.number, key: $key})
SET r.locked = $token
WITH r WHERE r.fingerprint = $fingerprint AND r.answer IS NULL
DELETE r;

// name: forget_old_keys
WITH coalesce($now, datetime.realtime().epochMillis / 1000.0) - $seconds AS before
MATCH (w:Workspace {namespace: $namespace})
CALL { WITH w, before MATCH (r:Idempotency) WHERE r.workspace = w.number AND r.made_at <= before
       RETURN r LIMIT $limit }
WITH r LIMIT $limit
DELETE r
RETURN count(*) AS forgotten;

// name: lock_chore
MERGE (c:Chore {namespace: $namespace, name: $name})
SET c.locked = $token
RETURN c.begun_at AS begun_at, c.begun_by AS begun_by, datetime.realtime().epochMillis AS milliseconds;

// name: begin_chore
MATCH (c:Chore {namespace: $namespace, name: $name}) SET c.begun_at = $now, c.begun_by = $attempt;

// name: waiting
WITH coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now
MATCH (w:Workspace {namespace: $namespace})
CALL { WITH w, now MATCH (v:Job) WHERE v.workspace = w.number AND v.status = 'pending' AND v.claimable_at > -1
       RETURN v.claimable_at AS at ORDER BY at LIMIT 1
       UNION ALL
       WITH w, now MATCH (v:Job) WHERE v.workspace = w.number AND v.status = 'running' AND v.claimable_at > -1
       RETURN CASE WHEN v.process IS NULL OR v.claimable_at <= now THEN 0.0 ELSE null END AS at }
WITH w.name AS name, now, min(at) AS at WHERE at IS NOT NULL
RETURN name, at, now ORDER BY name;

// name: leave
MATCH (v:Job) WHERE v.process = $process SET v.process = null;

// ---------------------------------------------------------------- versions as jobs

// name: accept
MATCH (w:Workspace {number: $workspace})
MERGE (d:Document {workspace: $workspace, id: $document})
SET d.locked = $token
WITH d
CALL { WITH d OPTIONAL MATCH (d)-[:HAS_VERSION]->(v:Version)
       WITH v ORDER BY v.number RETURN collect(v) AS versions }
WITH d, versions, coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now,
     last([v IN versions WHERE v.status IN ['pending', 'running', 'indexed']]) AS newest
WITH *, newest IS NOT NULL AND all(name IN keys($asked) WHERE coalesce(
       newest[name] = $asked[name], newest[name] IS NULL AND $asked[name] IS NULL)) AS same
WITH *, coalesce(last(versions).number + 1, $first) AS number,
     [v IN versions WHERE NOT same AND v.status IN ['pending', 'running']] AS superseded
WITH *, [v IN superseded | v.epoch] AS epochs
CALL { WITH epochs MATCH (c:ChunkRecord)
       WHERE c.workspace = $workspace AND c.version IN epochs AND c.shown_at IS NULL DELETE c }
CALL { WITH epochs MATCH (n:StagedName)
       WHERE n.workspace = $workspace AND n.version IN epochs AND n.id IS NOT NULL DELETE n }
FOREACH (v IN superseded |
  SET v.status = 'superseded', v.finished_at = now, v.claimable_at = null, v.process = null,
      v.ended_by = null
  REMOVE v:Job)
FOREACH (_ IN CASE WHEN same THEN [] ELSE [1] END |
  CREATE (d)-[:HAS_VERSION]->(v:Version:Job {workspace: $workspace, document_id: $document})
  SET v += $asked, v += $new, v.number = number, v.claimable_at = now, v.requested_at = now)
RETURN number, now, CASE WHEN same THEN properties(newest) END AS same;

// name: lock_document
MATCH (d:Document {workspace: $workspace, id: $document})
SET d.locked = $token
WITH d MATCH (d)-[:HAS_VERSION]->(v:Version)
RETURN properties(v) AS version, datetime.realtime().epochMillis AS milliseconds
ORDER BY v.number;

// name: lock_documents
UNWIND $documents AS id
MATCH (d:Document {workspace: $workspace, id: id})
SET d.locked = $token
RETURN d.id AS id, datetime.realtime().epochMillis AS milliseconds;

// name: set_version
MATCH (v:Version {workspace: $workspace, document_id: $document, number: $number})
SET v += $properties;

// name: end_versions
UNWIND $numbers AS number
MATCH (v:Version {workspace: $workspace, document_id: $document, number: number})
SET v += $properties
REMOVE v:Job;

// name: unstage
CALL { MATCH (c:ChunkRecord) WHERE c.workspace = $workspace AND c.version IN $versions AND c.shown_at IS NULL
       DELETE c }
CALL { MATCH (n:StagedName) WHERE n.workspace = $workspace AND n.version IN $versions AND n.id IS NOT NULL
       DELETE n };

// name: newest_version
MATCH (v:Version) WHERE v.workspace = $workspace AND v.document_id = $document AND v.number > 0
RETURN properties(v) AS version ORDER BY v.number DESC LIMIT 1;

// name: version
MATCH (v:Version {workspace: $workspace, document_id: $document, number: $number})
RETURN properties(v) AS version;

// name: newest_versions
MATCH (v:Version) WHERE v.workspace = $workspace AND v.requested_at > -1
  AND v.requested_at <= $at AND (v.requested_at < $at OR v.document_id > $id)
  AND NOT EXISTS { MATCH (o:Version) WHERE o.workspace = v.workspace AND o.document_id = v.document_id
                   AND o.number > v.number }
  AND ($status IS NULL OR v.status = $status)
RETURN properties(v) AS version ORDER BY v.requested_at DESC, v.document_id LIMIT $limit;

// name: newest_versions_by_id
MATCH (v:Version) WHERE v.workspace = $workspace AND v.document_id > $id AND v.number > 0
  AND NOT EXISTS { MATCH (o:Version) WHERE o.workspace = v.workspace AND o.document_id = v.document_id
                   AND o.number > v.number }
  AND ($status IS NULL OR v.status = $status)
RETURN properties(v) AS version ORDER BY v.document_id LIMIT $limit;

// name: next_claimable
MATCH (v:Job) WHERE v.workspace = $workspace AND v.status = 'pending' AND v.claimable_at > -1
WITH v.claimable_at AS at ORDER BY at LIMIT 1
RETURN at, datetime.realtime().epochMillis AS milliseconds;

// name: unfinished
MATCH (v:Job) WHERE v.workspace = $workspace AND v.status IN ['pending', 'running'] AND v.claimable_at > -1
WITH v.status AS status, count(*) AS count, min(v.requested_at) AS oldest
RETURN status, count, oldest, datetime.realtime().epochMillis AS milliseconds;

// name: indexed
MATCH (v:Version) WHERE v.workspace = $workspace AND v.requested_at > -1 AND v.status = 'indexed'
RETURN count(*) AS documents, coalesce(sum(v.chunks), 0) AS chunks;

// name: claim
WITH coalesce($now, datetime.realtime().epochMillis / 1000.0) AS before
CALL { MATCH (v:Job) WHERE v.workspace = $workspace AND v.status = 'running' AND v.claimable_at > -1
         AND v.claimed_by = $attempt
       RETURN collect({document: v.document_id, number: v.number}) AS claimed }
CALL { WITH before, claimed
       WITH before, claimed WHERE size(claimed) = 0
       MATCH (v:Job) WHERE v.workspace = $workspace AND v.requested_at > -1 AND v.claimable_at <= before
         AND ($document IS NULL OR v.document_id = $document)
       WITH v ORDER BY v.requested_at, v.document_id LIMIT 1
       RETURN collect({document: v.document_id, number: v.number}) AS found }
UNWIND claimed + found AS one
OPTIONAL MATCH (d:Document {workspace: $workspace, id: one.document})
SET d.locked = $token
WITH d, one OPTIONAL MATCH (d)-[:HAS_VERSION]->(v:Version {number: one.number})
OPTIONAL MATCH (q:Queue {workspace: $workspace})
WITH v, q, coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now
WITH *, coalesce(v.claimed_by, '') <> $attempt AND v.status IN ['pending', 'running']
        AND v.claimable_at <= now AND q IS NOT NULL AS free
WITH *, CASE WHEN free THEN [v.epoch] ELSE [] END AS epochs
CALL { WITH epochs MATCH (c:ChunkRecord)
       WHERE c.workspace = $workspace AND c.version IN epochs AND c.shown_at IS NULL DELETE c }
CALL { WITH epochs MATCH (n:StagedName)
       WHERE n.workspace = $workspace AND n.version IN epochs AND n.id IS NOT NULL DELETE n }
FOREACH (_ IN CASE WHEN free THEN [1] ELSE [] END |
  SET q.epoch = q.epoch + 1
  SET v += $holder, v.status = 'running', v.attempt = v.attempt + 1, v.epoch = q.epoch,
      v.claimable_at = now + $seconds)
RETURN coalesce(v.status = 'running' AND v.claimed_by = $attempt, false) AS leased,
       q IS NULL AS deleted, properties(v) AS version;

// name: set_held
MATCH (d:Document {workspace: $workspace, id: $document})
SET d.locked = $token
WITH d MATCH (d)-[:HAS_VERSION]->(v:Version {number: $number})
WITH v, coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now
WITH v, now, v.status = 'running' AND v.epoch = $version AND v.claimable_at > now AS held
FOREACH (_ IN CASE WHEN held THEN [1] ELSE [] END |
  SET v += $properties,
      v.warnings = v.warnings + [one IN $warnings WHERE NOT one IN v.warnings],
      v.claimable_at = CASE WHEN $seconds IS NULL THEN v.claimable_at ELSE now + $seconds END)
RETURN held, now, properties(v) AS version;

// name: stalled
MATCH (v:Job) WHERE v.workspace = $workspace AND v.status = 'running' AND v.claimable_at > -1
  AND (v.claimable_at <= $now OR v.process IS NULL)
RETURN v.document_id AS document, v.number AS number ORDER BY document;

// name: put_back
UNWIND $stalled AS one
MATCH (v:Version {workspace: $workspace, document_id: one.document, number: one.number})
WHERE v.status = 'running' AND (v.claimable_at <= $now OR v.process IS NULL)
SET v.status = 'pending', v.claimable_at = $now, v.process = null
RETURN count(v) AS versions;

// ---------------------------------------------------------------- staging

// name: stage
MATCH (d:Document {workspace: $workspace, id: $document})
SET d.locked = $token
WITH d MATCH (d)-[:HAS_VERSION]->(v:Version {number: $number})
WITH v, coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now
WITH v, now, v.status = 'running' AND v.epoch = $version AND v.claimable_at > now AS held
CALL { WITH held WITH held WHERE held
       UNWIND $chunks AS one
       MERGE (c:ChunkRecord {workspace: $workspace, row: one.row})
       SET c += one.properties, c.version = $version
       RETURN count(*) AS chunks }
CALL { WITH held WITH held WHERE held
       UNWIND $names AS one
       OPTIONAL MATCH (e:Entity {workspace: $workspace, id: one.id})
       MERGE (n:StagedName {workspace: $workspace, version: $version, id: one.id})
       ON CREATE SET n.key = one.key, n.vector = e.vector
       RETURN count(*) AS names }
CALL { WITH held WITH held WHERE held
       MATCH (n:StagedName)
       WHERE n.workspace = $workspace AND n.version = $version AND n.id IS NOT NULL AND n.vector IS NULL
       RETURN collect(n.key) AS missing }
RETURN held, now, properties(v) AS version, missing;

// name: stage_names
MATCH (d:Document {workspace: $workspace, id: $document})
SET d.locked = $token
WITH d MATCH (d)-[:HAS_VERSION]->(v:Version {number: $number})
WITH v, coalesce($now, datetime.realtime().epochMillis / 1000.0) AS now
WITH v, now, v.status = 'running' AND v.epoch = $version AND v.claimable_at > now AS held
CALL { WITH held WITH held WHERE held
       UNWIND $names AS one
       MATCH (n:StagedName {workspace: $workspace, version: $version, id: one.id})
       SET n.vector = one.vector
       RETURN count(*) AS names }
RETURN held, now, properties(v) AS version;

// ---------------------------------------------------------------- showing and hiding evidence

// name: finish_basis
MATCH (d:Document {workspace: $workspace, id: $document})
SET d.locked = $token
WITH d
CALL { WITH d MATCH (d)-[:HAS_VERSION]->(v:Version)
       WITH v ORDER BY v.number RETURN collect(properties(v)) AS versions }
WITH versions, [v IN versions WHERE v.row IS NOT NULL | v.row] + [$version] AS rows,
     datetime.realtime().epochMillis AS milliseconds
MATCH (w:Workspace {number: $workspace})
CALL { WITH rows MATCH (c:ChunkRecord)
       WHERE c.workspace = $workspace AND c.version IN rows AND c.gone_at IS NULL
       RETURN collect({version: c.version, row: c.row, id: c.id, ordinal: c.ordinal,
                       document: c.document_id, extraction: c.extraction, seen: c.seen}) AS chunks }
CALL { MATCH (n:StagedName)
       WHERE n.workspace = $workspace AND n.version = $version AND n.id IS NOT NULL
       RETURN collect({key: n.key, vector: n.vector}) AS names }
RETURN versions, milliseconds, w.state AS state, chunks, names;

// name: write_basis
MATCH (w:Workspace {number: $workspace})
CALL { MATCH (c:ChunkRecord)
       WHERE c.workspace = $workspace AND c.version IN $versions AND c.gone_at IS NULL
       RETURN collect({version: c.version, row: c.row, id: c.id, ordinal: c.ordinal,
                       document: c.document_id, extraction: c.extraction, seen: c.seen}) AS chunks }
CALL { MATCH (n:StagedName)
       WHERE n.workspace = $workspace AND n.version IN $versions AND n.id IS NOT NULL
       RETURN collect({key: n.key, vector: n.vector}) AS names }
RETURN w.state AS state, chunks, names;

// name: edits
MATCH (x:Edit) WHERE x.workspace = $workspace AND x.id IS NOT NULL AND x.gone_at IS NULL
RETURN properties(x) AS edit;

// name: write_evidence
CALL { UNWIND $locked AS one
       MERGE (e:Entity {workspace: $workspace, id: one.id})
       ON CREATE SET e.key = one.key, e.name = one.key, e.mentions = 0, e.vector = one.vector
       SET e.locked = $token
       RETURN collect(CASE WHEN e.vector IS NULL THEN e.key END) AS missing }
CALL { UNWIND $chunks AS one
       MATCH (c:ChunkRecord {workspace: $workspace, row: one.row})
       MATCH (d:Document {workspace: $workspace, id: one.document})
       SET c:Chunk, c += one.properties
       CREATE (d)-[:HAS_CHUNK]->(c)
       FOREACH (_ IN CASE WHEN size(one.properties.hidden) > 0 THEN [1] ELSE [] END | SET c:Edited)
       WITH c, one UNWIND one.mentions AS mention
       MATCH (e:Entity {workspace: $workspace, id: mention.entity})
       CREATE (c)-[m:MENTIONS]->(e)
       SET m = mention.properties
       RETURN count(*) AS mentions }
CALL { UNWIND $vanishing AS row
       MATCH (c:ChunkRecord {workspace: $workspace, row: row})
       REMOVE c:Chunk:Edited
       WITH c MATCH (c)-[r]-() DELETE r
       RETURN count(*) AS hidden }
CALL { UNWIND $entities AS one
       MATCH (e:Entity {workspace: $workspace, id: one.id})
       SET e.mentions = e.mentions + one.mentions
       RETURN count(*) AS entities }
CALL { UNWIND $values AS one
       MERGE (v:Value {workspace: $workspace, owner: one.owner, kind: one.kind, hash: one.hash})
       ON CREATE SET v.value = one.value, v.count = 0
       SET v.count = v.count + one.count
       WITH v WHERE v.count = 0
       DELETE v
       RETURN count(*) AS values }
CALL { UNWIND $relations AS one
       MATCH (a:Entity {workspace: $workspace, id: one.low})
       MATCH (b:Entity {workspace: $workspace, id: one.high})
       MERGE (a)-[r:RELATED]->(b)
       ON CREATE SET r.assertions = 0, r.weight = 0
       WITH r, one, r.assertions AS before
       SET r.assertions = before + one.assertions, r.weight = r.weight + one.weight
       WITH r, before, r.assertions AS after
       FOREACH (_ IN CASE WHEN after = 0 THEN [1] ELSE [] END | DELETE r)
       RETURN coalesce(sum(CASE WHEN before = 0 AND after > 0 THEN 1
                                WHEN before > 0 AND after = 0 THEN -1 ELSE 0 END), 0) AS relations }
RETURN missing, relations;

// name: label
CALL { UNWIND $shown AS row MATCH (c:ChunkRecord {workspace: $workspace, row: row})
       SET c:W0:Marked_w0 RETURN count(*) AS a }
CALL { UNWIND $gone AS row MATCH (c:ChunkRecord {workspace: $workspace, row: row})
       SET c:Marked_w0 REMOVE c:W0 RETURN count(*) AS b }
CALL { UNWIND $shown_versions AS row
       MATCH (v:VersionRecord {workspace: $workspace, row: row})<-[:HAS_VERSION]-(d:Document)
       SET v:W0, d:W0 RETURN count(*) AS c }
CALL { UNWIND $gone_versions AS row MATCH (v:VersionRecord {workspace: $workspace, row: row})
       REMOVE v:W0 RETURN count(*) AS d }
CALL { UNWIND $entities AS id MATCH (e:Entity {workspace: $workspace, id: id})
       SET e:W0 RETURN count(*) AS e }
RETURN a, b, c, d, e;

// name: marked_chunks
MATCH (c:Marked_w0) WITH c LIMIT $limit
RETURN c.row AS row, CASE WHEN c:W0 THEN c.vector END AS vector;

// name: index_chunks
UNWIND $chunks AS one
MATCH (c:ChunkRecord {workspace: $workspace, row: one.row})
REMOVE c:Marked_w0
WITH c, one.embedding AS embedding, c:W0 AND one.embedding IS NOT NULL AS visible
FOREACH (_ IN CASE WHEN visible THEN [1] ELSE [] END | SET c.embedding = embedding SET c:Indexed_w0)
FOREACH (_ IN CASE WHEN visible THEN [] ELSE [1] END | REMOVE c:Indexed_w0, c.embedding);

// name: commit_write
CALL { UNWIND $entities AS id
       MATCH (e:Entity {workspace: $workspace, id: id})
       CALL { WITH e MATCH (v:Value)
              WHERE v.workspace = e.workspace AND v.owner = toString(e.id) AND v.kind = 'name' AND v.hash IS NOT NULL
              WITH v ORDER BY v.count DESC, v.value LIMIT 1 RETURN collect(v.value) AS names }
       CALL { WITH e MATCH (v:Value)
              WHERE v.workspace = e.workspace AND v.owner = toString(e.id) AND v.kind = 'type' AND v.hash IS NOT NULL
              WITH v ORDER BY v.count DESC, v.value LIMIT 1 RETURN collect(v.value) AS types }
       FOREACH (_ IN CASE WHEN e.mentions > 0 THEN [1] ELSE [] END |
                SET e.name = coalesce(names[0], e.key), e.type = coalesce(types[0], ''))
       FOREACH (_ IN CASE WHEN e.mentions = 0 THEN [1] ELSE [] END | DETACH DELETE e)
       RETURN count(*) AS settled }
MATCH (w:Workspace {number: $workspace})
SET w.locked = $token
WITH w WHERE w.state[2] = $edited
SET w.state = [w.state[0] + 1, w.state[1] + $relations,
               CASE WHEN $edits THEN w.state[0] + 1 ELSE w.state[2] END, w.state[3]]
WITH w.state[0] AS counter, datetime.realtime().epochMillis AS now
CALL { WITH counter UNWIND $shown AS row MATCH (c:ChunkRecord {workspace: $workspace, row: row})
       SET c.shown_at = counter RETURN count(*) AS a }
CALL { WITH counter, now UNWIND $gone AS row MATCH (c:ChunkRecord {workspace: $workspace, row: row})
       SET c.gone_at = counter, c.gone_time = now RETURN count(*) AS b }
CALL { WITH counter UNWIND $shown_versions AS row MATCH (v:VersionRecord {workspace: $workspace, row: row})
       SET v.shown_at = counter RETURN count(*) AS c }
CALL { WITH counter, now UNWIND $gone_versions AS row
       MATCH (v:VersionRecord {workspace: $workspace, row: row})
       SET v.gone_at = counter, v.gone_time = now RETURN count(*) AS d }
CALL { WITH counter UNWIND $entities AS id MATCH (e:Entity {workspace: $workspace, id: id})
       SET e.changed = counter RETURN count(*) AS e }
RETURN counter, a, b, c, d, e;

// name: copy_chunks
UNWIND $chunks AS one
MATCH (old:ChunkRecord {workspace: $workspace, row: one.from})
CREATE (c)
SET c = properties(old), c.row = one.row, c.shown_at = null, c.gone_at = null
SET c:ChunkRecord;

// name: show_version
CALL { MATCH (n:StagedName)
       WHERE n.workspace = $workspace AND n.version = $properties.row AND n.id IS NOT NULL
       DELETE n }
MATCH (d:Document {workspace: $workspace, id: $document})
MATCH (d)-[:HAS_VERSION]->(v:Version {number: $number})
SET v:VersionRecord, v += $properties
REMOVE v:Job
WITH d, v MATCH (d)-[h:HAS_VERSION]->(o:Version) WHERE o.number < v.number
WITH h, o, o.shown_at IS NULL AS never
FOREACH (_ IN CASE WHEN NOT never THEN [1] ELSE [] END | DELETE h REMOVE o:Version)
FOREACH (_ IN CASE WHEN never THEN [1] ELSE [] END | DETACH DELETE o);

// name: versions_of_documents
UNWIND $documents AS id
MATCH (d:Document {workspace: $workspace, id: id})-[:HAS_VERSION]->(v:Version)
RETURN v.epoch AS epoch, v.row AS row;

// name: forget_documents
UNWIND $documents AS id
MATCH (d:Document {workspace: $workspace, id: id})
OPTIONAL MATCH (d)-[h:HAS_VERSION]->(o:Version)
WITH d, h, o, o.shown_at IS NULL AS never
FOREACH (_ IN CASE WHEN NOT never THEN [1] ELSE [] END | DELETE h REMOVE o:Version)
FOREACH (_ IN CASE WHEN never THEN [1] ELSE [] END | DETACH DELETE o)
WITH DISTINCT d
DETACH DELETE d;

// ---------------------------------------------------------------- edits

// name: chunks_of_edit
MATCH (e:Entity {workspace: $workspace, id: $entity})<-[:MENTIONS]-(c:Chunk)
RETURN c.row AS row, c.document_id AS document, c.extraction AS extraction, c.seen AS seen
UNION
MATCH (c:Edited) WHERE c.workspace = $workspace AND any(id IN c.hidden WHERE id IN $hidden)
RETURN c.row AS row, c.document_id AS document, c.extraction AS extraction, c.seen AS seen;

// name: add_edit
CREATE (x:Edit {workspace: $workspace, made_at: $made_at, shown_at: $counter})
SET x += $properties;

// name: remove_edit
MATCH (x:Edit) WHERE x.workspace = $workspace AND x.id = $id AND x.gone_at IS NULL
SET x.gone_at = $counter, x.gone_time = datetime.realtime().epochMillis;

// ---------------------------------------------------------------- removing what nobody can still read

// name: outdated
CALL { MATCH (p:Pin) WHERE p.workspace = $workspace AND p.until > datetime.realtime().epochMillis
       RETURN coalesce(min(p.counter), 9223372036854775807) AS upto }
WITH upto, datetime.realtime().epochMillis - $kept_milliseconds AS before
CALL { WITH upto, before
       MATCH (n:ChunkRecord) WHERE n.workspace = $workspace AND n.gone_at > 0 AND n.gone_at <= upto
         AND n.gone_time < before
       RETURN 'chunk' AS kind, n.gone_at AS at, n.row AS row LIMIT $limit
       UNION ALL
       WITH upto, before
       MATCH (n:VersionRecord) WHERE n.workspace = $workspace AND n.gone_at > 0 AND n.gone_at <= upto
         AND n.gone_time < before
       RETURN 'version' AS kind, n.gone_at AS at, n.row AS row LIMIT $limit
       UNION ALL
       WITH upto, before
       MATCH (n:Edit) WHERE n.workspace = $workspace AND n.id IS NOT NULL
         AND n.gone_at > 0 AND n.gone_at <= upto AND n.gone_time < before
       RETURN 'edit' AS kind, n.gone_at AS at, n.shown_at AS row LIMIT $limit }
RETURN kind, at, row;

// name: remove_outdated
MATCH (w:Workspace {number: $workspace})
SET w.locked = $token
SET w.state = [w.state[0], w.state[1], w.state[2],
               CASE WHEN w.state[3] < $upto THEN $upto ELSE w.state[3] END]
WITH w
CALL { UNWIND $chunks AS row MATCH (n:ChunkRecord {workspace: $workspace, row: row}) DETACH DELETE n }
CALL { UNWIND $versions AS row MATCH (n:VersionRecord {workspace: $workspace, row: row}) DETACH DELETE n }
CALL { UNWIND $edits AS at MATCH (n:Edit) WHERE n.workspace = $workspace AND n.id IS NOT NULL AND n.shown_at = at
         AND n.gone_at IS NOT NULL DETACH DELETE n };

// ---------------------------------------------------------------- everything, to be copied

// name: pin
MATCH (w:Workspace {number: $workspace})
OPTIONAL MATCH (old:Pin) WHERE old.workspace = $workspace AND old.id <> $pin
  AND old.until < datetime.realtime().epochMillis
DELETE old
WITH DISTINCT w.state[0] AS counter
MERGE (p:Pin {workspace: $workspace, id: $pin})
ON CREATE SET p.counter = counter
SET p.until = datetime.realtime().epochMillis + $milliseconds
RETURN p.counter AS counter;

// name: unpin
MATCH (p:Pin {workspace: $workspace, id: $pin}) DELETE p;

// name: versions_to_copy
MATCH (v:VersionRecord) WHERE v.workspace = $workspace AND v.row > $after
  AND v.shown_at <= $upto AND (v.gone_at IS NULL OR v.gone_at > $upto)
RETURN v.document_id AS document, v.row AS row ORDER BY row LIMIT $limit;

// name: chunks_to_copy
MATCH (c:ChunkRecord) WHERE c.workspace = $workspace AND c.version IN $versions
  AND c.shown_at <= $upto AND (c.gone_at IS NULL OR c.gone_at > $upto)
RETURN c.version AS version, c.vector AS vector, c.extraction AS extraction,
       c {.row, .id, .document_id, .number, .ordinal, .text, .start, .end, .tokens, .pages,
          .heading_path} AS chunk;

// ---------------------------------------------------------------- what is held in memory

// name: state
MATCH (w:Workspace {number: $workspace}) RETURN w.state AS state;

// name: chunks_between
MATCH (c:ChunkRecord) WHERE c.workspace = $workspace AND c.shown_at >= $after AND c.shown_at <= $upto
  AND (c.shown_at > $after OR c.row + 0 > $row) AND (c.gone_at IS NULL OR c.gone_at > $upto)
WITH c ORDER BY c.workspace, c.shown_at, c.row LIMIT $limit
RETURN max(c.shown_at) AS shown_at, collect(c.row) AS row, collect(c.id) AS id,
       collect(c.version) AS version, collect(c.assertions) AS assertions, collect(c.lexemes) AS lexemes,
       collect(c.mentions) AS mentions, collect(CASE WHEN $vectors THEN c.vector END) AS vector;

// name: changes_between
MATCH (c:ChunkRecord) USING INDEX c:ChunkRecord(workspace, gone_at)
WHERE c.workspace = $workspace AND c.gone_at > $since AND c.gone_at <= $upto AND c.shown_at <= $since
RETURN 'chunk gone' AS what, c.row AS row, null AS document, null AS fields, null AS chunks
UNION ALL
MATCH (v:VersionRecord) USING INDEX v:VersionRecord(workspace, gone_at)
WHERE v.workspace = $workspace AND v.gone_at > $since AND v.gone_at <= $upto AND v.shown_at <= $since
RETURN 'version gone' AS what, v.row AS row, v.document_id AS document, null AS fields, null AS chunks
UNION ALL
MATCH (v:VersionRecord) USING INDEX v:VersionRecord(workspace, shown_at)
WHERE v.workspace = $workspace AND v.shown_at > $since AND v.shown_at <= $upto
  AND (v.gone_at IS NULL OR v.gone_at > $upto)
RETURN 'version' AS what, v.row AS row, v.document_id AS document, v.fields AS fields, v.chunks AS chunks;

// name: edits_at
MATCH (x:Edit) WHERE x.workspace = $workspace AND x.id IS NOT NULL AND x.shown_at <= $upto
  AND (x.gone_at IS NULL OR x.gone_at > $upto)
RETURN properties(x) AS edit;

// name: names_in_columns
UNWIND $ids AS wanted MATCH (e:Entity {workspace: $workspace, id: wanted})
WITH e.id AS id, e.vector AS vector WHERE id IS NOT NULL AND vector IS NOT NULL
RETURN collect(id) AS id, collect(vector) AS vector;

// name: name_vectors
UNWIND $ids AS wanted MATCH (e:Entity {workspace: $workspace, id: wanted})
WITH e.id AS id, e.vector AS vector WHERE vector IS NOT NULL
RETURN id, vector;

// ---------------------------------------------------------------- what readers ask for

// name: nearest_chunks
CALL { MATCH (c:Marked_w0) WHERE c:W0 RETURN collect({id: c.id, vector: c.vector}) AS marked }
CALL { CALL db.index.vector.queryNodes('rag_chunks_w0', $count, $vector) YIELD node, score
       RETURN collect({id: node.id, vector: node.vector, score: score}) AS found }
MATCH (w:Workspace {number: $workspace}) RETURN marked, found, w.state[0] AS counter;

// name: gone_since
MATCH (c:ChunkRecord) WHERE c.workspace = $workspace AND c.gone_at > $counter
RETURN c.id AS id, c.vector AS vector;

// name: chunk_vectors
UNWIND $rows AS wanted MATCH (c:ChunkRecord {workspace: $workspace, row: wanted})
WITH c.row AS row, c.vector AS vector WHERE vector IS NOT NULL
RETURN row, vector;

// name: model
MATCH (w:Workspace {number: $workspace}) RETURN w.model AS model;

// name: version_records
UNWIND $rows AS row MATCH (v:VersionRecord {workspace: $workspace, row: row})
RETURN properties(v) AS version;

// name: versions_to_order
MATCH (v:VersionRecord) WHERE v.workspace = $workspace AND v.shown_at > $since
RETURN v {.row, .document_id, .number, .source, .submitted_title, .title, .content_hash, .size, .chunks,
          .created_at, .finished_at, metadata: '{}'} AS version;

// name: chunk_records
UNWIND $rows AS row MATCH (c:ChunkRecord {workspace: $workspace, row: row})
RETURN c {.row, .id, .document_id, .number, .ordinal, .text, .start, .end, .tokens, .pages,
          .heading_path} AS chunk;

// name: chunk_evidence
UNWIND $rows AS row MATCH (c:ChunkRecord {workspace: $workspace, row: row})
RETURN c.row AS row, c.extraction AS extraction, c.seen AS seen;

// name: entities
UNWIND $ids AS id MATCH (e:Entity {workspace: $workspace, id: id})
CALL { WITH e MATCH (v:Value)
       WHERE v.workspace = e.workspace AND v.owner = toString(e.id) AND v.kind = 'description' AND v.hash IS NOT NULL
       WITH v ORDER BY v.hash LIMIT $selected RETURN collect(v.value) AS descriptions }
RETURN e.id AS id, e.key AS key, e.name AS name, e.type AS type, e.mentions AS mentions, descriptions;

// name: relations
UNWIND $ids AS id MATCH (e:Entity {workspace: $workspace, id: id})
CALL { WITH e MATCH (e)-[r:RELATED]-(o:Entity)
       RETURN r, o ORDER BY r.weight DESC, o.id LIMIT $limit }
WITH id, r, o, toString(startNode(r).id) + '-' + toString(endNode(r).id) AS owner
CALL { WITH owner MATCH (v:Value)
       WHERE v.workspace = $workspace AND v.owner = owner AND v.kind = 'keywords' AND v.hash IS NOT NULL
       WITH v ORDER BY v.hash LIMIT $selected RETURN collect(v.value) AS keywords }
CALL { WITH owner MATCH (v:Value)
       WHERE v.workspace = $workspace AND v.owner = owner AND v.kind = 'description' AND v.hash IS NOT NULL
       WITH v ORDER BY v.hash LIMIT $selected RETURN collect(v.value) AS descriptions }
RETURN id AS source, o.id AS target, o.name AS name, r.assertions AS assertions, r.weight AS weight, keywords,
       descriptions
ORDER BY weight DESC, target;

// name: relations_between
UNWIND $pairs AS pair
MATCH (a:Entity {workspace: $workspace, id: pair[0]})
MATCH (b:Entity {workspace: $workspace, id: pair[1]})
MATCH (a)-[r:RELATED]-(b)
WITH pair, r, b, toString(startNode(r).id) + '-' + toString(endNode(r).id) AS owner
CALL { WITH owner MATCH (v:Value)
       WHERE v.workspace = $workspace AND v.owner = owner AND v.kind = 'keywords' AND v.hash IS NOT NULL
       WITH v ORDER BY v.hash LIMIT $selected RETURN collect(v.value) AS keywords }
CALL { WITH owner MATCH (v:Value)
       WHERE v.workspace = $workspace AND v.owner = owner AND v.kind = 'description' AND v.hash IS NOT NULL
       WITH v ORDER BY v.hash LIMIT $selected RETURN collect(v.value) AS descriptions }
RETURN pair[0] AS source, pair[1] AS target, b.name AS name, r.assertions AS assertions, r.weight AS weight,
       keywords, descriptions;

// name: strongest_relations
MATCH (a:Entity)-[r:RELATED]->(b)
USING INDEX a:Entity(workspace, id)
WHERE a.workspace = $workspace AND a.id IS NOT NULL AND r.weight <= $weight
WITH r.weight AS weight, CASE WHEN a.id < b.id THEN a.id ELSE b.id END AS low,
     CASE WHEN a.id < b.id THEN b.id ELSE a.id END AS high
WHERE low IS NOT NULL AND high IS NOT NULL
  AND (weight < $weight OR low > $low OR low = $low AND high > $high)
RETURN low, high, weight ORDER BY weight DESC, low, high LIMIT $limit;

// name: evidence_since
MATCH (c:ChunkRecord) WHERE c.workspace = $workspace AND c.shown_at > $since
RETURN c.row AS row, c.extraction AS extraction, c.seen AS seen
UNION
MATCH (c:ChunkRecord) WHERE c.workspace = $workspace AND c.gone_at > $since
RETURN c.row AS row, c.extraction AS extraction, c.seen AS seen;

// name: changes_of_entities
UNWIND $ids AS id MATCH (e:Entity {workspace: $workspace, id: id})
RETURN e.id AS id, e.changed AS changed;

// name: matching_versions
UNWIND $leaves AS leaf
MATCH (v:VersionRecord) WHERE v.workspace = $workspace AND v.shown_at > leaf.since
WITH leaf, v.row AS row,
     coalesce(v['text:' + leaf.field], []) AS texts,
     coalesce(v['boolean:' + leaf.field], []) AS flags,
     coalesce(v['whole:' + leaf.field], []) + coalesce(v['real:' + leaf.field], []) AS numbers
WHERE CASE leaf.test
        WHEN 'exists' THEN size(texts) + size(flags) + size(numbers) > 0
        WHEN 'in' THEN any(x IN texts WHERE x IN leaf.texts) OR any(x IN flags WHERE x IN leaf.flags)
                       OR any(x IN numbers WHERE x IN leaf.numbers)
        ELSE any(x IN CASE leaf.kind WHEN 'text' THEN texts ELSE numbers END WHERE
                 CASE leaf.test WHEN 'gt' THEN x > leaf.bound WHEN 'gte' THEN x >= leaf.bound
                                WHEN 'lt' THEN x < leaf.bound ELSE x <= leaf.bound END)
      END
RETURN leaf.number AS leaf, collect(row) AS rows;
