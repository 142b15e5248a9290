-- Lists of ids come in as one JSON array: `IN (SELECT value FROM json_each(?))`.

-- ---------------------------------------------------------------- counters and totals

-- name: meta
SELECT value FROM meta WHERE key = ?;

-- name: set_meta
INSERT INTO meta (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = excluded.value;

-- name: add_meta
INSERT INTO meta (key, value) VALUES (?, ?)
ON CONFLICT (key) DO UPDATE SET value = value + excluded.value;

-- name: all_meta
SELECT key, value FROM meta;

-- name: removed_from
SELECT coalesce((SELECT value FROM meta WHERE key = 'removed_from'), 0);

-- name: removed_since
SELECT kind, row FROM removed WHERE counter > ?;

-- name: log_removed
INSERT INTO removed (counter, kind, row) VALUES (?, ?, ?);

-- name: trim_removed
DELETE FROM removed WHERE counter < ?;

-- ---------------------------------------------------------------- what is held in memory

-- name: chunk_vectors_after
SELECT v.chunk, v.id, v.document, v.length, v.vector, v.mentions, s.vector
FROM chunk_vector AS v LEFT JOIN chunk_checksum AS s ON s.chunk = v.chunk
WHERE v.chunk > ? ORDER BY v.chunk;

-- name: mentions_in_memory
SELECT chunk, mentions FROM chunk_vector WHERE chunk IN (SELECT value FROM json_each(?)) ORDER BY chunk;

-- name: entity_vectors_after
SELECT v.entity, v.id, v.vector, s.vector
FROM entity_vector AS v LEFT JOIN entity_checksum AS s ON s.entity = v.entity
WHERE v.entity > ? ORDER BY v.entity;

-- ---------------------------------------------------------------- documents

-- name: any_document
SELECT 1 FROM document LIMIT 1;

-- name: document_columns
SELECT d.id, v.source, v.root, coalesce(v.submitted_title, v.title), v.media_type, v.metadata,
       v.number, v.content_hash, v.parsed_hash, v.size, v.chunks, d.created_at, d.updated_at
FROM document AS d JOIN version AS v ON v.row = d.current;

-- name: documents_by_id
WHERE d.id IN (SELECT value FROM json_each(?));

-- name: document_by_row
WHERE d.row = ?;

-- Pages of documents, beginning after the place ?1, ?2, among the rows ?3 if any are given. Before the
-- first of all is a value that every other is beyond. What stands between places is never counted.

-- name: listed_by_id
WHERE d.current IS NOT NULL AND d.id > ?2
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY d.id LIMIT ?4;

-- name: listed_by_id_down
WHERE d.current IS NOT NULL AND d.id < ?2
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY d.id DESC LIMIT ?4;

-- name: listed_by_title
WHERE v.status = 'indexed' AND v.document = d.row AND lower(coalesce(nullif(coalesce(v.submitted_title, v.title), ''), v.source)) >= ?1
  AND (lower(coalesce(nullif(coalesce(v.submitted_title, v.title), ''), v.source)) > ?1 OR d.id > ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY lower(coalesce(nullif(coalesce(v.submitted_title, v.title), ''), v.source)), d.id LIMIT ?4;

-- name: listed_by_title_down
WHERE v.status = 'indexed' AND v.document = d.row AND lower(coalesce(nullif(coalesce(v.submitted_title, v.title), ''), v.source)) <= ?1
  AND (lower(coalesce(nullif(coalesce(v.submitted_title, v.title), ''), v.source)) < ?1 OR d.id < ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY lower(coalesce(nullif(coalesce(v.submitted_title, v.title), ''), v.source)) DESC, d.id DESC LIMIT ?4;

-- name: listed_by_created
WHERE d.current IS NOT NULL AND (d.created_at, d.id) > (?1, ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY d.created_at, d.id LIMIT ?4;

-- name: listed_by_created_down
WHERE d.current IS NOT NULL AND (d.created_at, d.id) < (?1, ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY d.created_at DESC, d.id DESC LIMIT ?4;

-- name: listed_by_updated
WHERE d.current IS NOT NULL AND (d.updated_at, d.id) > (?1, ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY d.updated_at, d.id LIMIT ?4;

-- name: listed_by_updated_down
WHERE d.current IS NOT NULL AND (d.updated_at, d.id) < (?1, ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY d.updated_at DESC, d.id DESC LIMIT ?4;

-- name: listed_by_size
WHERE v.status = 'indexed' AND v.document = d.row AND v.size >= ?1
  AND (v.size > ?1 OR d.id > ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY v.size, d.id LIMIT ?4;

-- name: listed_by_size_down
WHERE v.status = 'indexed' AND v.document = d.row AND v.size <= ?1
  AND (v.size < ?1 OR d.id < ?2)
  AND (?3 IS NULL OR d.row IN (SELECT value FROM json_each(?3)))
ORDER BY v.size DESC, d.id DESC LIMIT ?4;

-- name: fields
SELECT name, documents FROM field;

-- ---------------------------------------------------------------- chunks

-- name: chunk_columns
SELECT c.id, d.id, v.number, c.ordinal, c.text, c.start, c."end", c.tokens, c.first_page,
       c.last_page, c.heading_path
FROM chunk AS c JOIN document AS d ON d.row = c.document JOIN version AS v ON v.row = d.current;

-- name: chunks_by_id
WHERE c.id IN (SELECT value FROM json_each(?));

-- name: chunks_of_document
WHERE d.id = ? ORDER BY c.ordinal;

-- ---------------------------------------------------------------- everything, to be copied

-- name: chunks_to_copy
SELECT c.id, d.id, v.number, c.ordinal, c.text, c.start, c."end", c.tokens, c.first_page,
       c.last_page, c.heading_path, m.vector, s.vector
FROM document AS d
JOIN version AS v ON v.row = d.current
JOIN chunk AS c ON c.document = d.row
JOIN chunk_vector AS m ON m.chunk = c.row
LEFT JOIN chunk_checksum AS s ON s.chunk = c.row
WHERE d.id = ? ORDER BY c.ordinal;

-- name: name_vectors
SELECT e.key, v.vector, s.vector
FROM entity AS e
JOIN entity_vector AS v ON v.entity = e.row
LEFT JOIN entity_checksum AS s ON s.entity = e.row
WHERE e.id IN (SELECT value FROM json_each(?1))
UNION ALL
SELECT v.key, v.vector, s.vector
FROM edit_vector AS v
LEFT JOIN edit_checksum AS s ON s.key = v.key AND s.edit = v.edit
WHERE v.key IN (SELECT value FROM json_each(?2));

-- ---------------------------------------------------------------- lexical search

-- name: frequencies
SELECT term, chunks FROM term WHERE term IN (SELECT value FROM json_each(?));

-- name: occurrences
SELECT group_concat(doc, ' ') FROM occurrence WHERE term = ?;

-- ---------------------------------------------------------------- entities and evidence

-- name: entities
SELECT id, row, key, mentions FROM entity WHERE id IN (SELECT value FROM json_each(?));

-- name: first_entities
SELECT id, mentions FROM entity ORDER BY mentions DESC, id LIMIT ?;

-- name: entities_after
-- Two ranges of one index: as one condition with OR, everything before would be walked through.
SELECT id, mentions FROM (
    SELECT * FROM (SELECT id, mentions FROM entity WHERE mentions = ?1 AND id > ?2 ORDER BY id LIMIT ?3)
    UNION ALL
    SELECT * FROM (
        SELECT id, mentions FROM entity WHERE mentions < ?1 ORDER BY mentions DESC, id LIMIT ?3
    )
)
ORDER BY mentions DESC, id LIMIT ?3;

-- name: entity_top_value
SELECT value FROM entity_value WHERE entity = ? AND kind = ? ORDER BY count DESC, value LIMIT 1;

-- name: entity_descriptions
SELECT value FROM entity_value WHERE entity = ? AND kind = 'description' ORDER BY hash LIMIT ?;

-- name: mentions_of_entity
SELECT c.id, m.name, m.type, m.description, m.weight, m.written
FROM mention AS m JOIN chunk AS c ON c.row = m.chunk
WHERE m.entity = (SELECT row FROM entity WHERE id = ?)
ORDER BY m.weight DESC, c.id LIMIT ?;

-- name: mentions_of_entity_among
SELECT c.id, m.name, m.type, m.description, m.weight, m.written
FROM mention AS m JOIN chunk AS c ON c.row = m.chunk
WHERE m.entity = (SELECT row FROM entity WHERE id = ?) AND c.document IN (SELECT value FROM json_each(?))
ORDER BY m.weight DESC, c.id LIMIT ?;

-- name: mentions_of_entities_among
SELECT e.id, e.key, m.name, m.type, m.description
FROM json_each(?1) AS wanted
CROSS JOIN entity AS e ON e.id = wanted.value
CROSS JOIN mention AS m ON m.entity = e.row
CROSS JOIN chunk AS c ON c.row = m.chunk
WHERE c.document IN (SELECT value FROM json_each(?2));

-- name: mentions_of_chunks
SELECT c.id, m.name, m.type, m.description, m.weight, m.written
FROM mention AS m JOIN chunk AS c ON c.row = m.chunk
WHERE c.id IN (SELECT value FROM json_each(?));

-- name: assertions_of_chunks
SELECT c.id, a.source_name, a.target_name, a.keywords, a.description, a.weight
FROM assertion AS a JOIN chunk AS c ON c.row = a.chunk
WHERE c.id IN (SELECT value FROM json_each(?));

-- name: relations_of_entity
SELECT r.source, r.target, e.id, r.assertions, r.weight
FROM relation AS r JOIN entity AS e ON e.row = r.target
WHERE r.source = (SELECT row FROM entity WHERE id = ?)
ORDER BY r.weight DESC, e.id LIMIT ?;

-- name: relation_between
SELECT r.source, r.target, e.id, r.assertions, r.weight
FROM relation AS r JOIN entity AS e ON e.row = r.target
WHERE r.source = (SELECT row FROM entity WHERE id = ?) AND r.target = (SELECT row FROM entity WHERE id = ?);

-- name: all_relations
SELECT min(s.id, t.id), max(s.id, t.id), r.weight
FROM relation AS r JOIN entity AS s ON s.row = r.source JOIN entity AS t ON t.row = r.target
WHERE r.source < r.target;

-- name: relations_among
SELECT min(s.id, t.id) AS low, max(s.id, t.id) AS high, sum(a.weight)
FROM json_each(?) AS wanted
CROSS JOIN chunk AS c ON c.document = wanted.value
CROSS JOIN assertion AS a ON a.chunk = c.row
JOIN entity AS s ON s.row = a.source
JOIN entity AS t ON t.row = a.target
GROUP BY low, high;

-- name: relation_values
SELECT value FROM relation_value WHERE low = ? AND high = ? AND kind = ? ORDER BY hash LIMIT ?;

-- name: assertions_between
-- Of the documents ?3 if any are given.
SELECT c.id AS chunk, ?1 AS starts, a.source_name, a.target_name, a.keywords, a.description, a.weight AS weight
FROM assertion AS a JOIN chunk AS c ON c.row = a.chunk
WHERE a.source = (SELECT row FROM entity WHERE id = ?1) AND a.target = (SELECT row FROM entity WHERE id = ?2)
  AND (?3 IS NULL OR c.document IN (SELECT value FROM json_each(?3)))
UNION ALL
SELECT c.id, ?2, a.source_name, a.target_name, a.keywords, a.description, a.weight
FROM assertion AS a JOIN chunk AS c ON c.row = a.chunk
WHERE a.source = (SELECT row FROM entity WHERE id = ?2) AND a.target = (SELECT row FROM entity WHERE id = ?1)
  AND (?3 IS NULL OR c.document IN (SELECT value FROM json_each(?3)))
ORDER BY weight DESC, chunk, starts LIMIT ?4;

-- name: assertions_of_pairs_among
SELECT pair.key, a.source_name, a.target_name, a.keywords, a.description, a.weight
FROM json_each(?1) AS pair
CROSS JOIN entity AS s ON s.id = json_extract(pair.value, '$[0]')
CROSS JOIN entity AS t ON t.id = json_extract(pair.value, '$[1]')
CROSS JOIN assertion AS a ON a.source = s.row AND a.target = t.row
CROSS JOIN chunk AS c ON c.row = a.chunk
WHERE c.document IN (SELECT value FROM json_each(?2))
UNION ALL
SELECT pair.key, a.source_name, a.target_name, a.keywords, a.description, a.weight
FROM json_each(?1) AS pair
CROSS JOIN entity AS s ON s.id = json_extract(pair.value, '$[0]')
CROSS JOIN entity AS t ON t.id = json_extract(pair.value, '$[1]')
CROSS JOIN assertion AS a ON a.source = t.row AND a.target = s.row
CROSS JOIN chunk AS c ON c.row = a.chunk
WHERE c.document IN (SELECT value FROM json_each(?2));

-- name: assertions_of_entity_among
SELECT e.id, a.keywords, a.description, a.weight
FROM assertion AS a
JOIN chunk AS c ON c.row = a.chunk
JOIN entity AS e ON e.row = a.target
WHERE a.source = (SELECT row FROM entity WHERE id = ?1) AND c.document IN (SELECT value FROM json_each(?2))
UNION ALL
SELECT e.id, a.keywords, a.description, a.weight
FROM assertion AS a
JOIN chunk AS c ON c.row = a.chunk
JOIN entity AS e ON e.row = a.source
WHERE a.target = (SELECT row FROM entity WHERE id = ?1) AND c.document IN (SELECT value FROM json_each(?2));

-- ---------------------------------------------------------------- writing: documents and versions

-- name: add_document
INSERT INTO document (id) VALUES (?) ON CONFLICT (id) DO NOTHING;

-- name: document_row
SELECT row, current FROM document WHERE id = ?;

-- name: version_columns
SELECT d.id, v.number, v.source, v.root, v.submitted_title, v.metadata, v.content_hash, v.size,
       v.fingerprint, v.status, v.stage, v.attempt, v.error, v.media_type, v.title, v.parsed_hash,
       v.warnings, v.chunks, v.requested_at, v.finished_at, v.row, v.epoch, v.claimable_at,
       v.error_code, v.usage
FROM version AS v JOIN document AS d ON d.row = v.document;

-- name: newest_version
WHERE d.id = ? ORDER BY v.number DESC LIMIT 1;

-- name: newest_wanted_version
WHERE d.id = ? AND v.status IN ('pending', 'running', 'indexed') ORDER BY v.number DESC LIMIT 1;

-- name: version_by_number
WHERE d.id = ? AND v.number = ?;

-- name: newest_versions
WHERE v.requested_at <= ?2 AND (v.requested_at < ?2 OR d.id > ?3)
  AND v.number = (SELECT max(number) FROM version WHERE document = v.document) AND ?1 IS NULL
ORDER BY v.requested_at DESC, d.id LIMIT ?4;

-- name: newest_versions_of_status
WHERE v.status = ?1 AND v.requested_at <= ?2 AND (v.requested_at < ?2 OR d.id > ?3)
  AND v.number = (SELECT max(number) FROM version WHERE document = v.document)
ORDER BY v.requested_at DESC, d.id LIMIT ?4;

-- name: newest_versions_by_id
WHERE d.id > ?3 AND v.number = (SELECT max(number) FROM version WHERE document = d.row)
  AND (?1 IS NULL OR v.status = ?1)
ORDER BY d.id LIMIT ?4;

-- name: claimable_version
WHERE v.status IN ('pending', 'running') AND v.claimable_at <= ?1 AND (?2 IS NULL OR d.id = ?2)
ORDER BY v.requested_at, d.id LIMIT 1;

-- name: next_claimable
SELECT min(claimable_at) FROM version WHERE status = 'pending';

-- name: unfinished_versions
SELECT status, count(*), min(requested_at) FROM version
WHERE status IN ('pending', 'running') GROUP BY status;

-- name: add_version
INSERT INTO version (document, number, source, root, submitted_title, metadata, content_hash, size,
                     fingerprint, status, claimable_at, requested_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', 0, ?);

-- name: end_unfinished
UPDATE version SET status = ?, finished_at = ?, claimable_at = NULL
WHERE document = ? AND status IN ('pending', 'running');

-- name: lease_version
UPDATE version SET status = 'running', epoch = ?, attempt = attempt + 1, worker = ?, process = ?,
                   claimable_at = ?
WHERE row = ?;

-- name: extend_lease
UPDATE version SET claimable_at = ? WHERE row = ?;

-- name: checkpoint
UPDATE version SET stage = ?, media_type = coalesce(?, media_type), title = coalesce(?, title),
                   parsed_hash = coalesce(?, parsed_hash), warnings = ?, usage = coalesce(?, usage)
WHERE row = ?;

-- name: postpone
UPDATE version SET status = 'pending', error = ?, error_code = ?, claimable_at = ? WHERE row = ?;

-- name: give_up
UPDATE version SET status = 'failed', error = ?, error_code = ?, claimable_at = NULL, finished_at = ?
WHERE row = ?;

-- name: release
-- What is not put off may be claimed at once, whatever a clock that is set back says.
UPDATE version SET status = 'pending', attempt = attempt - 1,
                   claimable_at = iif(error IS NULL, 0, ?)
WHERE row = ?;

-- name: leases
SELECT process, min(claimable_at) FROM version WHERE status = 'running' GROUP BY process;

-- name: working_processes
SELECT DISTINCT process FROM version WHERE status = 'running' AND process IS NOT NULL;

-- name: release_stalled
UPDATE version SET status = 'pending', claimable_at = iif(error IS NULL, 0, ?)
WHERE status = 'running'
  AND (claimable_at <= ? OR process IN (SELECT value FROM json_each(?)));

-- name: complete_version
UPDATE version SET status = 'indexed', stage = 'write', error = NULL, error_code = NULL, claimable_at = NULL,
                   finished_at = ?, chunks = ?, usage = coalesce(?, usage)
WHERE row = ?;

-- name: show_version
UPDATE document SET current = ?, created_at = coalesce(created_at, ?), updated_at = ? WHERE row = ?;

-- name: forget_old_versions
DELETE FROM version WHERE document = ? AND row <> ? AND finished_at IS NOT NULL;

-- name: forget_versions
DELETE FROM version WHERE document = ?;

-- name: forget_document
DELETE FROM document WHERE row = ?;

-- ---------------------------------------------------------------- writing: staged evidence

-- name: stage_chunk
INSERT INTO staged_chunk (version, ordinal, chunk, lexemes, extraction, vector)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (version, ordinal) DO UPDATE
SET chunk = excluded.chunk, lexemes = excluded.lexemes, extraction = excluded.extraction,
    vector = excluded.vector;

-- name: stage_known_name
INSERT INTO staged_name (version, key, vector)
VALUES (?1, ?2, (
    SELECT vector FROM entity_vector WHERE entity = (SELECT row FROM entity WHERE id = ?3)
))
ON CONFLICT (version, key) DO NOTHING;

-- name: missing_names
SELECT key FROM staged_name WHERE version = ? AND vector IS NULL ORDER BY key;

-- name: stage_name
UPDATE staged_name SET vector = ? WHERE version = ? AND key = ?;

-- name: staged_chunks
SELECT chunk, lexemes, extraction, vector FROM staged_chunk WHERE version = ? ORDER BY ordinal;

-- name: staged_names
SELECT key, vector FROM staged_name WHERE version = ?;

-- name: unstage_chunks
DELETE FROM staged_chunk WHERE version = ?;

-- name: unstage_names
DELETE FROM staged_name WHERE version = ?;

-- name: unstage_document_chunks
DELETE FROM staged_chunk WHERE version IN (SELECT row FROM version WHERE document = ?);

-- name: unstage_document_names
DELETE FROM staged_name WHERE version IN (SELECT row FROM version WHERE document = ?);

-- ---------------------------------------------------------------- writing: fields

-- name: add_field_value
INSERT OR IGNORE INTO field_value (field, kind, value, document) VALUES (?, ?, ?, ?);

-- name: fields_of_document
SELECT DISTINCT field FROM field_value WHERE document = ?;

-- name: remove_field_values
DELETE FROM field_value WHERE document = ?;

-- name: count_field
INSERT INTO field (name, documents) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET documents = documents + excluded.documents;

-- name: remove_unused_field
DELETE FROM field WHERE name = ? AND documents = 0;

-- ---------------------------------------------------------------- writing: evidence

-- name: last_row
SELECT seq FROM sqlite_sequence WHERE name = ?;

-- name: add_chunk
INSERT INTO chunk (row, id, document, ordinal, text, start, "end", tokens, first_page, last_page,
                   heading_path)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: add_chunk_vector
INSERT INTO chunk_vector (chunk, id, document, length, vector, mentions) VALUES (?, ?, ?, ?, ?, ?);

-- name: add_lexemes
INSERT INTO lexeme (chunk, lexemes) VALUES (?, ?);

-- name: index_lexemes
INSERT INTO lexical (rowid, lexemes) VALUES (?, ?);

-- name: unindex_lexemes
INSERT INTO lexical (lexical, rowid, lexemes) VALUES ('delete', ?, ?);

-- name: add_mention
INSERT INTO mention (chunk, entity, name, type, description, weight, written)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: add_assertion
INSERT INTO assertion (chunk, source, target, source_name, target_name, keywords, description,
                       weight)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: entity_rows
SELECT key, row FROM entity WHERE id IN (SELECT value FROM json_each(?));

-- name: add_entity
INSERT INTO entity (row, id, key, mentions) VALUES (?, ?, ?, 0);

-- name: add_entity_vector
INSERT INTO entity_vector (entity, id, vector) VALUES (?, ?, ?);

-- name: count_mentions
UPDATE entity SET mentions = mentions + ? WHERE row = ?;

-- name: count_entity_value
INSERT INTO entity_value (entity, kind, hash, value, count) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (entity, kind, hash) DO UPDATE SET count = count + excluded.count;

-- name: remove_uncounted_entity_value
DELETE FROM entity_value WHERE entity = ? AND kind = ? AND hash = ? AND count = 0;

-- name: unmentioned_entities
SELECT row FROM entity WHERE row IN (SELECT value FROM json_each(?)) AND mentions = 0;

-- name: remove_entity
DELETE FROM entity WHERE row = ?;

-- name: remove_entity_vector
DELETE FROM entity_vector WHERE entity = ?;

-- name: count_relation
INSERT INTO relation (source, target, assertions, weight) VALUES (?, ?, ?, ?)
ON CONFLICT (source, target) DO UPDATE
SET assertions = assertions + excluded.assertions, weight = weight + excluded.weight;

-- name: has_relation
SELECT 1 FROM relation WHERE source = ? AND target = ?;

-- name: remove_uncounted_relation
DELETE FROM relation WHERE source = ? AND target = ? AND assertions = 0;

-- name: count_relation_value
INSERT INTO relation_value (low, high, kind, hash, value, count) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (low, high, kind, hash) DO UPDATE SET count = count + excluded.count;

-- name: remove_uncounted_relation_value
DELETE FROM relation_value WHERE low = ? AND high = ? AND kind = ? AND hash = ? AND count = 0;

-- name: count_term
INSERT INTO term (term, chunks) VALUES (?, ?)
ON CONFLICT (term) DO UPDATE SET chunks = chunks + excluded.chunks;

-- name: remove_uncounted_term
DELETE FROM term WHERE term = ? AND chunks = 0;

-- name: document_lexemes
SELECT c.row, c.id, l.lexemes FROM chunk AS c JOIN lexeme AS l ON l.chunk = c.row
WHERE c.document = ? ORDER BY c.ordinal;

-- name: remove_mentions
DELETE FROM mention WHERE chunk = ?;

-- name: remove_assertions
DELETE FROM assertion WHERE chunk = ?;

-- name: remove_lexemes
DELETE FROM lexeme WHERE chunk = ?;

-- name: set_mentions_in_memory
UPDATE chunk_vector SET mentions = ? WHERE chunk = ?;

-- name: remove_chunk_vector
DELETE FROM chunk_vector WHERE chunk = ?;

-- name: remove_chunk
DELETE FROM chunk WHERE row = ?;

-- ---------------------------------------------------------------- edits

-- name: edits
SELECT kind, name, other, made_at FROM edit ORDER BY made_at, id;

-- name: edit
SELECT kind, name, other, made_at FROM edit WHERE id = ?;

-- name: edits_of_keys
SELECT kind, name, other, made_at FROM edit
WHERE key IN (SELECT value FROM json_each(?1))
   OR kind = 'suppression' AND other_key IN (SELECT value FROM json_each(?1));

-- name: aliases_to
WITH RECURSIVE standing (key) AS (
    VALUES (?)
    UNION
    SELECT edit.key FROM standing JOIN edit ON edit.other_key = standing.key AND edit.kind = 'alias'
)
SELECT key FROM standing;

-- name: add_edit
INSERT INTO edit (id, kind, name, other, key, other_key, made_at) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: add_edit_vector
INSERT INTO edit_vector (key, edit, vector) VALUES (?, ?, ?);

-- name: edit_vectors
SELECT v.key, v.vector, s.vector FROM edit_vector AS v
LEFT JOIN edit_checksum AS s ON s.key = v.key AND s.edit = v.edit
WHERE v.key IN (SELECT value FROM json_each(?));

-- name: remove_edit_vectors
DELETE FROM edit_vector WHERE edit = ?;

-- name: remove_edit_checksums
DELETE FROM edit_checksum WHERE edit = ?;

-- name: remove_edit
DELETE FROM edit WHERE id = ?;

-- name: edited_chunks
SELECT c.id, e.extraction FROM edited_chunk AS e JOIN chunk AS c ON c.row = e.chunk
WHERE c.id IN (SELECT value FROM json_each(?));

-- name: add_edited_chunk
INSERT INTO edited_chunk (chunk, extraction) VALUES (?, ?);

-- name: add_edited_key
INSERT INTO edited_key (key, chunk) VALUES (?, ?);

-- name: remove_edited_chunk
DELETE FROM edited_chunk WHERE chunk = ?;

-- name: remove_edited_keys
DELETE FROM edited_key WHERE chunk = ?;

-- name: chunks_of_keys
SELECT c.row, c.id FROM chunk AS c
WHERE c.row IN (
    SELECT m.chunk FROM entity AS e JOIN mention AS m ON m.entity = e.row
    WHERE e.id IN (SELECT value FROM json_each(?1))
    UNION
    SELECT chunk FROM edited_key WHERE key IN (SELECT value FROM json_each(?2))
)
ORDER BY c.row;

-- ---------------------------------------------------------------- workspaces (control.sqlite)

-- name: make_workspaces
CREATE TABLE IF NOT EXISTS workspace (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

-- name: numbered_workspaces
SELECT name, number FROM workspace ORDER BY name;

-- name: workspace
SELECT number FROM workspace WHERE name = ?;

-- name: numbered_workspace
SELECT number FROM workspace WHERE name = ? AND number = ?;

-- name: add_workspace
INSERT INTO workspace (number, name) VALUES (?, ?);

-- name: any_other_vector
SELECT 1 FROM staged_chunk UNION ALL SELECT 1 FROM edit_vector LIMIT 1;

-- ---------------------------------------------------------------- blobs and chores

-- name: named_blobs
SELECT content_hash FROM version WHERE content_hash IN (SELECT value FROM json_each(?1))
UNION
SELECT parsed_hash FROM version WHERE parsed_hash IN (SELECT value FROM json_each(?1));

-- name: listed_workspaces
SELECT number, name FROM workspace ORDER BY number;

-- name: forget_workspaces
DELETE FROM workspace;

-- name: forget_workspace
DELETE FROM workspace WHERE name = ?;

-- name: forget_number
DELETE FROM workspace WHERE number = ?;

-- name: make_deleted
CREATE TABLE IF NOT EXISTS deleted (number INTEGER PRIMARY KEY);

-- name: has_deleted
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'deleted';

-- name: add_deleted
INSERT OR IGNORE INTO deleted (number) VALUES (?);

-- name: last_deleted
SELECT coalesce(max(number), 0) FROM deleted;

-- name: has_listing
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'workspace';

-- name: workspace_numbers
SELECT number FROM workspace ORDER BY number;

-- name: make_keys
CREATE TABLE IF NOT EXISTS api_key (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL,
    scopes TEXT NOT NULL,
    workspaces TEXT NOT NULL,
    made_at REAL NOT NULL
) WITHOUT ROWID;

-- name: has_keys
SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'api_key';

-- name: keys
SELECT id, name, hash, scopes, workspaces, made_at FROM api_key ORDER BY made_at, id;

-- name: add_key
INSERT INTO api_key (id, name, hash, scopes, workspaces, made_at) VALUES (?, ?, ?, ?, ?, ?);

-- name: remove_key
DELETE FROM api_key WHERE id = ?;

-- name: make_chores
CREATE TABLE IF NOT EXISTS chore (name TEXT PRIMARY KEY, begun_at REAL NOT NULL);

-- name: chore_begun_at
SELECT begun_at FROM chore WHERE name = ?;

-- name: begin_chore
INSERT INTO chore (name, begun_at) VALUES (?1, ?2)
ON CONFLICT (name) DO UPDATE SET begun_at = excluded.begun_at WHERE begun_at <= ?2 - ?3;

-- name: make_idempotency
CREATE TABLE IF NOT EXISTS idempotency (
    workspace INTEGER NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    answer TEXT,
    made_at REAL NOT NULL,
    PRIMARY KEY (workspace, key)
) WITHOUT ROWID;

-- name: make_idempotency_index
CREATE INDEX IF NOT EXISTS idempotency_made_at ON idempotency (made_at);

-- name: reserve_key
INSERT INTO idempotency (workspace, key, fingerprint, made_at) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (workspace, key) DO UPDATE
SET fingerprint = excluded.fingerprint, answer = NULL, made_at = excluded.made_at
WHERE made_at <= ?4 - ?5;

-- name: settle_key
INSERT INTO idempotency (workspace, key, fingerprint, answer, made_at) VALUES (?1, ?2, ?3, ?4, ?5)
ON CONFLICT (workspace, key) DO UPDATE SET answer = excluded.answer
WHERE answer IS NULL AND fingerprint = excluded.fingerprint;

-- name: idempotency_record
SELECT fingerprint, answer FROM idempotency WHERE workspace = ? AND key = ?;

-- name: release_key
DELETE FROM idempotency WHERE workspace = ? AND key = ? AND fingerprint = ? AND answer IS NULL;

-- name: forget_old_keys
DELETE FROM idempotency WHERE made_at <= ?;

-- name: forget_keys_of
DELETE FROM idempotency WHERE workspace = ?;

-- ---------------------------------------------------------------- checksums

-- name: seal_chunk
INSERT OR REPLACE INTO chunk_checksum (chunk, passage, lexemes, vector, evidence)
SELECT c.row,
       checksum(c.id, c.document, c.ordinal, CAST(c.text AS BLOB), c.start, c."end", c.tokens,
                c.first_page, c.last_page, CAST(c.heading_path AS BLOB)),
       checksum(CAST(l.lexemes AS BLOB)), checksum(v.vector), 0
FROM chunk AS c
JOIN lexeme AS l ON l.chunk = c.row
JOIN chunk_vector AS v ON v.chunk = c.row
WHERE c.row = ?;

-- name: seal_evidence
UPDATE chunk_checksum SET evidence =
    (SELECT coalesce(sum(checksum(entity, CAST(name AS BLOB), CAST(type AS BLOB),
                                  CAST(description AS BLOB), weight, CAST(written AS BLOB))), 0)
     FROM mention WHERE chunk = ?1)
    + (SELECT coalesce(sum(checksum(source, target, CAST(source_name AS BLOB),
                                    CAST(target_name AS BLOB), CAST(keywords AS BLOB),
                                    CAST(description AS BLOB), weight)), 0)
       FROM assertion WHERE chunk = ?1)
WHERE chunk = ?1;

-- name: seal_entity
INSERT OR REPLACE INTO entity_checksum (entity, vector)
SELECT entity, checksum(vector) FROM entity_vector WHERE entity = ?;

-- name: seal_edit
INSERT OR REPLACE INTO edit_checksum (key, edit, vector)
SELECT key, edit, checksum(vector) FROM edit_vector WHERE edit = ?;

-- name: remove_chunk_checksum
DELETE FROM chunk_checksum WHERE chunk = ?;

-- name: remove_entity_checksum
DELETE FROM entity_checksum WHERE entity = ?;
