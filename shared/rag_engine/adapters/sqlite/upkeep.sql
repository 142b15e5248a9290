-- Checks: each row is a place, the id of a document or NULL, and what is wrong in a sentence.
-- Text goes to our own functions as bytes, for damaged text may be no UTF-8.

-- name: totals
WITH counted (key, value) AS (
    SELECT 'documents', count(*) FROM document WHERE current IS NOT NULL
    UNION ALL SELECT 'chunks', count(*) FROM chunk
    UNION ALL SELECT 'length', coalesce(sum(words(CAST(lexemes AS BLOB))), 0) FROM lexeme
    UNION ALL SELECT 'mentions', count(*) FROM mention
    UNION ALL SELECT 'assertions', count(*) FROM assertion
    UNION ALL SELECT 'entities', count(DISTINCT entity) FROM mention
    UNION ALL SELECT 'relations', count(*) FROM
        (SELECT DISTINCT min(source, target), max(source, target) FROM assertion)
)
SELECT NULL, NULL, printf('The total of %s is %s, and there are %d.', key,
                          coalesce((SELECT value FROM meta WHERE key = counted.key), 0), value)
FROM counted
WHERE coalesce((SELECT value FROM meta WHERE key = counted.key), 0) IS NOT value;

-- name: entity_counts
SELECT row, NULL, printf('Entity %Q counts %s mentions, and there are %d.', key, mentions, counted)
FROM (SELECT row, key, mentions,
             (SELECT count(*) FROM mention WHERE entity = entity.row) AS counted FROM entity)
WHERE mentions IS NOT counted OR counted = 0;

-- name: entity_values
WITH counted AS (
    SELECT entity, 'name' AS kind, text_hash(CAST(name AS BLOB)) AS hash, name AS value,
           count(*) AS count
    FROM mention GROUP BY entity, name
    UNION ALL
    SELECT entity, 'type', text_hash(CAST(type AS BLOB)), type, count(*)
    FROM mention WHERE type <> '' GROUP BY entity, type
    UNION ALL
    SELECT entity, 'description', text_hash(CAST(description AS BLOB)), description, count(*)
    FROM mention WHERE description <> '' GROUP BY entity, description
), differing AS (
    SELECT entity, kind FROM (SELECT entity, kind, hash, value, count FROM entity_value
                              EXCEPT SELECT entity, kind, hash, value, count FROM counted)
    UNION
    SELECT entity, kind FROM (SELECT entity, kind, hash, value, count FROM counted
                              EXCEPT SELECT entity, kind, hash, value, count FROM entity_value)
)
SELECT differing.entity, NULL,
       printf('The %ss that entity %Q counts are not those of its mentions.', kind, key)
FROM differing LEFT JOIN entity ON entity.row = differing.entity;

-- name: relation_counts
WITH ends AS (
    SELECT source, target, weight FROM assertion
    UNION ALL SELECT target, source, weight FROM assertion
), counted AS (
    SELECT source, target, count(*) AS assertions, sum(weight) AS weight
    FROM ends GROUP BY source, target
), differing AS (
    SELECT source, target FROM (SELECT source, target, assertions, weight FROM relation
                                EXCEPT SELECT source, target, assertions, weight FROM counted)
    UNION
    SELECT source, target FROM (SELECT source, target, assertions, weight FROM counted
                                EXCEPT SELECT source, target, assertions, weight FROM relation)
)
SELECT NULL, NULL,
       printf('What joins %Q to %Q is not counted as there is evidence for it.', s.key, t.key)
FROM differing
LEFT JOIN entity AS s ON s.row = source LEFT JOIN entity AS t ON t.row = target;

-- name: relation_values
WITH counted AS (
    SELECT min(source, target) AS low, max(source, target) AS high, 'keywords' AS kind,
           text_hash(CAST(keywords AS BLOB)) AS hash, keywords AS value, count(*) AS count
    FROM assertion WHERE keywords <> '' GROUP BY 1, 2, keywords
    UNION ALL
    SELECT min(source, target), max(source, target), 'description',
           text_hash(CAST(description AS BLOB)), description, count(*)
    FROM assertion WHERE description <> '' GROUP BY 1, 2, description
), differing AS (
    SELECT low, high, kind FROM (
        SELECT low, high, kind, hash, value, count FROM relation_value
        EXCEPT SELECT low, high, kind, hash, value, count FROM counted)
    UNION
    SELECT low, high, kind FROM (
        SELECT low, high, kind, hash, value, count FROM counted
        EXCEPT SELECT low, high, kind, hash, value, count FROM relation_value)
)
SELECT NULL, NULL,
       printf('The %s between %Q and %Q is not that of the evidence.', kind, s.key, t.key)
FROM differing LEFT JOIN entity AS s ON s.row = low LEFT JOIN entity AS t ON t.row = high;

-- name: entity_ids
SELECT row, NULL, printf('Entity %Q has an id that is not that of its name.', key)
FROM entity WHERE id IS NOT entity_id(CAST(key AS BLOB));

-- name: make_words
CREATE VIRTUAL TABLE temp.word USING fts5vocab('main', 'lexical', 'row');

-- name: check_words
INSERT INTO lexical (lexical, rank) VALUES ('integrity-check', 1);

-- name: terms
SELECT NULL, NULL, printf('The number of passages with the word %Q is wrong.', term)
FROM (
    SELECT term FROM (SELECT term, chunks FROM term EXCEPT SELECT term, doc FROM temp.word)
    UNION
    SELECT term FROM (SELECT term, doc FROM temp.word EXCEPT SELECT term, chunks FROM term)
);

-- name: current_versions
SELECT row, id, printf('Document %Q does not answer with its newest indexed version.', id)
FROM document
WHERE current IS NOT (SELECT row FROM version WHERE document = document.row AND status = 'indexed'
                      ORDER BY number DESC LIMIT 1);

-- name: childless_documents
SELECT row, id, printf('Document %Q has no version.', id)
FROM document WHERE row NOT IN (SELECT document FROM version);

-- name: staged_for_nothing
SELECT DISTINCT version, NULL, 'There is staged evidence of a version that nobody works on.'
FROM (SELECT version FROM staged_chunk UNION SELECT version FROM staged_name)
WHERE version NOT IN (SELECT row FROM version WHERE status IN ('pending', 'running'));

-- name: unfinished_repairs
SELECT d.row, d.id, printf('Damaged parts of %Q were dropped, and it is not ingested again yet.', d.id)
FROM document AS d JOIN version AS v ON v.row = d.current WHERE v.fingerprint = 'damaged';

-- name: edits_by_id
SELECT id, kind, name, other, made_at FROM edit ORDER BY id;

-- name: edited_evidence
SELECT c.row, c.id, d.id, c.ordinal + 1, e.extraction,
       (SELECT json_group_array(key) FROM edited_key WHERE chunk = c.row)
FROM edited_chunk AS e JOIN chunk AS c ON c.row = e.chunk JOIN document AS d ON d.row = c.document;

-- name: seen_unedited
SELECT c.row, d.id, printf('Passage %d of %Q is seen as if an edit were not in force.',
                           c.ordinal + 1, d.id)
FROM chunk AS c JOIN document AS d ON d.row = c.document
WHERE c.row IN (
    SELECT m.chunk FROM edit JOIN entity AS e ON e.key = edit.key JOIN mention AS m ON m.entity = e.row
    WHERE edit.kind = 'alias' OR edit.other_key IS NULL
    UNION
    SELECT chunk FROM edited_key WHERE chunk NOT IN (SELECT chunk FROM edited_chunk)
);

-- name: passage_counts
SELECT NULL, d.id, printf('Document %Q has %d passages of %d.', d.id, found, v.chunks)
FROM (SELECT document.*, (SELECT count(*) FROM chunk WHERE document = document.row) AS found
      FROM document) AS d
JOIN version AS v ON v.row = (SELECT row FROM version WHERE document = d.row AND status = 'indexed'
                              ORDER BY number DESC LIMIT 1)
WHERE found <> v.chunks;

-- name: passages
SELECT c.row, d.id, printf('Passage %s of %Q is damaged.', c.ordinal + 1, d.id)
FROM chunk AS c JOIN chunk_checksum AS s ON s.chunk = c.row
LEFT JOIN document AS d ON d.row = c.document
WHERE s.passage IS NOT checksum(
    c.id, c.document, c.ordinal, CAST(c.text AS BLOB), c.start, c."end", c.tokens, c.first_page,
    c.last_page, CAST(c.heading_path AS BLOB));

-- name: evidence
SELECT c.row, d.id, printf('What was found in passage %d of %Q is damaged.', c.ordinal + 1, d.id)
FROM chunk AS c JOIN chunk_checksum AS s ON s.chunk = c.row
LEFT JOIN document AS d ON d.row = c.document
WHERE s.evidence IS NOT
    (SELECT coalesce(sum(checksum(entity, CAST(name AS BLOB), CAST(type AS BLOB),
                                  CAST(description AS BLOB), weight, CAST(written AS BLOB))), 0)
     FROM mention WHERE chunk = c.row)
    + (SELECT coalesce(sum(checksum(source, target, CAST(source_name AS BLOB),
                                    CAST(target_name AS BLOB), CAST(keywords AS BLOB),
                                    CAST(description AS BLOB), weight)), 0)
       FROM assertion WHERE chunk = c.row);

-- name: lexemes
SELECT c.row, d.id, printf('The words of passage %d of %Q are %s.', c.ordinal + 1, d.id,
                           CASE WHEN l.chunk IS NULL THEN 'missing' ELSE 'damaged' END)
FROM chunk AS c
LEFT JOIN lexeme AS l ON l.chunk = c.row
LEFT JOIN chunk_checksum AS s ON s.chunk = c.row
LEFT JOIN document AS d ON d.row = c.document
WHERE l.chunk IS NULL OR checksum(CAST(l.lexemes AS BLOB)) <> s.lexemes;

-- name: chunk_vectors
SELECT c.row, d.id, printf('The vector of passage %d of %Q is %s.', c.ordinal + 1, d.id,
                           CASE WHEN v.chunk IS NULL THEN 'missing' ELSE 'damaged' END)
FROM chunk AS c
LEFT JOIN chunk_vector AS v ON v.chunk = c.row
LEFT JOIN chunk_checksum AS s ON s.chunk = c.row
LEFT JOIN document AS d ON d.row = c.document
WHERE v.chunk IS NULL OR length(v.vector) <> 2 * ?1 OR NOT is_unit(v.vector)
   OR checksum(v.vector) <> s.vector;

-- name: entity_vectors
SELECT e.row, NULL, printf('The vector of entity %Q is %s.', e.key,
                           CASE WHEN v.entity IS NULL THEN 'missing' ELSE 'damaged' END)
FROM entity AS e
LEFT JOIN entity_vector AS v ON v.entity = e.row
LEFT JOIN entity_checksum AS s ON s.entity = e.row
WHERE v.entity IS NULL OR length(v.vector) <> 2 * ?1 OR NOT is_unit(v.vector)
   OR checksum(v.vector) <> s.vector;

-- name: edit_vectors
SELECT entity_id(CAST(k.key AS BLOB)), NULL,
       printf('The vector of %Q, which edit %Q is about, is %s.', k.key, k.edit,
              CASE WHEN v.key IS NULL THEN 'missing' ELSE 'damaged' END)
FROM (SELECT key, id AS edit FROM edit
      UNION SELECT other_key, id FROM edit WHERE other_key IS NOT NULL) AS k
LEFT JOIN edit_vector AS v ON v.key = k.key AND v.edit = k.edit
LEFT JOIN edit_checksum AS s ON s.key = k.key AND s.edit = k.edit
WHERE v.key IS NULL OR length(v.vector) <> 2 * ?1 OR NOT is_unit(v.vector)
   OR checksum(v.vector) <> s.vector;

-- name: checksums
SELECT NULL, d.id, printf('Passage %d of %Q has no checksum.', c.ordinal + 1, d.id)
FROM chunk AS c JOIN document AS d ON d.row = c.document
WHERE c.row NOT IN (SELECT chunk FROM chunk_checksum)
UNION ALL
SELECT NULL, NULL, printf('Entity %Q has no checksum.', key)
FROM entity WHERE row NOT IN (SELECT entity FROM entity_checksum);

-- name: held_in_memory
SELECT v.chunk, d.id, printf('Passage %d of %Q is described wrongly beside its vector.',
                             c.ordinal + 1, d.id)
FROM chunk_vector AS v JOIN chunk AS c ON c.row = v.chunk
LEFT JOIN lexeme AS l ON l.chunk = c.row
LEFT JOIN document AS d ON d.row = c.document
WHERE v.id IS NOT c.id OR v.document IS NOT c.document
   OR v.length IS NOT words(CAST(l.lexemes AS BLOB))
UNION ALL
SELECT NULL, NULL, printf('Entity %Q has another id beside its vector.', key)
FROM entity_vector AS v JOIN entity AS e ON e.row = v.entity WHERE v.id IS NOT e.id;

-- name: packed_mentions
SELECT v.chunk, d.id, c.ordinal + 1, v.mentions
FROM chunk_vector AS v JOIN chunk AS c ON c.row = v.chunk
LEFT JOIN document AS d ON d.row = c.document;

-- name: mentions_to_pack
SELECT m.entity, m.weight FROM mention AS m JOIN entity AS e ON e.row = m.entity
WHERE m.chunk = ? ORDER BY m.weight DESC, e.id;

-- name: fields_of_documents
SELECT d.row FROM document AS d JOIN version AS v ON v.row = d.current ORDER BY d.row;

-- name: field_values
SELECT field, kind, value FROM field_value WHERE document = ?;

-- name: field_counts
WITH counted AS (
    SELECT field AS name, count(DISTINCT document) AS documents FROM field_value GROUP BY field
)
SELECT NULL, NULL, printf('The number of documents that have the field %Q is wrong.', name)
FROM (
    SELECT name FROM (SELECT name, documents FROM field EXCEPT SELECT name, documents FROM counted)
    UNION
    SELECT name FROM (SELECT name, documents FROM counted EXCEPT SELECT name, documents FROM field)
);

-- ---------------------------------------------------------------- what checks read besides

-- name: versions_in_order
WHERE v.row > ? ORDER BY v.row LIMIT 1000;

-- name: current_rows
SELECT current FROM document WHERE current BETWEEN ? AND ?;

-- name: answering_version
WHERE v.row = (SELECT current FROM document WHERE id = ?);

-- name: version_of_document
WHERE d.id = ? AND v.number = ?;

-- name: hollow_chunks
SELECT c.row, coalesce(v.submitted_title, v.title)
FROM chunk AS c JOIN document AS d ON d.row = c.document JOIN version AS v ON v.row = d.current
WHERE c.row IN (SELECT value FROM json_each(?));

-- name: chunk_by_row
WHERE c.row = ?;

-- name: hollow_entities
SELECT row, key FROM entity WHERE row IN (SELECT value FROM json_each(?));

-- name: hollow_edits
SELECT place, key
FROM (SELECT entity_id(CAST(key AS BLOB)) AS place, key
      FROM (SELECT key FROM edit UNION SELECT other_key FROM edit WHERE other_key IS NOT NULL))
WHERE place IN (SELECT value FROM json_each(?));

-- ---------------------------------------------------------------- repair

-- name: drop_chunks
DELETE FROM chunk WHERE row IN (SELECT value FROM json_each(?));

-- name: drop_mentions
DELETE FROM mention WHERE chunk IN (SELECT value FROM json_each(?));

-- name: drop_assertions
DELETE FROM assertion WHERE chunk IN (SELECT value FROM json_each(?));

-- name: ask_for_again
UPDATE version SET fingerprint = 'damaged', chunks =
    (SELECT count(*) FROM chunk WHERE document = version.document)
WHERE row IN (SELECT current FROM document WHERE id IN (SELECT value FROM json_each(?)));

-- name: put_lexemes
INSERT OR REPLACE INTO lexeme (chunk, lexemes) VALUES (?, ?);

-- name: put_chunk_vector
INSERT INTO chunk_vector (chunk, id, document, length, vector, mentions)
SELECT row, id, document, 0, ?2, x'' FROM chunk WHERE row = ?1
ON CONFLICT (chunk) DO UPDATE SET vector = excluded.vector;

-- name: put_entity_vector
INSERT INTO entity_vector (entity, id, vector) SELECT row, id, ?2 FROM entity WHERE row = ?1
ON CONFLICT (entity) DO UPDATE SET vector = excluded.vector;

-- name: put_edit_vector
INSERT OR REPLACE INTO edit_vector (key, edit, vector)
SELECT ?1, id, ?2 FROM edit WHERE ?1 IN (key, other_key);

-- name: answer_with_newest
UPDATE document SET current = (SELECT row FROM version
                               WHERE document = document.row AND status = 'indexed'
                               ORDER BY number DESC LIMIT 1);

-- name: lost_entities
SELECT entity, min(name) FROM mention WHERE entity NOT IN (SELECT row FROM entity) GROUP BY entity
UNION ALL
SELECT row, (SELECT min(name) FROM mention WHERE entity = entity.row)
FROM entity WHERE id IS NOT entity_id(CAST(key AS BLOB));

-- name: put_entity
INSERT INTO entity (row, id, key, mentions) VALUES (?, ?, ?, 0)
ON CONFLICT (row) DO UPDATE SET id = excluded.id, key = excluded.key;

-- name: remove_strays
DELETE FROM version WHERE document NOT IN (SELECT row FROM document);
DELETE FROM document WHERE row NOT IN (SELECT document FROM version);
DELETE FROM staged_chunk WHERE version NOT IN
    (SELECT row FROM version WHERE status IN ('pending', 'running'));
DELETE FROM staged_name WHERE version NOT IN
    (SELECT row FROM version WHERE status IN ('pending', 'running'));
DELETE FROM chunk WHERE document NOT IN (SELECT row FROM document WHERE current IS NOT NULL);
DELETE FROM chunk_vector WHERE chunk NOT IN (SELECT row FROM chunk);
DELETE FROM lexeme WHERE chunk NOT IN (SELECT row FROM chunk);
DELETE FROM mention WHERE chunk NOT IN (SELECT row FROM chunk);
DELETE FROM assertion WHERE chunk NOT IN (SELECT row FROM chunk);
DELETE FROM assertion WHERE source NOT IN (SELECT entity FROM mention)
    OR target NOT IN (SELECT entity FROM mention);
DELETE FROM chunk_checksum WHERE chunk NOT IN (SELECT row FROM chunk);
DELETE FROM edited_chunk WHERE chunk NOT IN (SELECT row FROM chunk);
DELETE FROM edited_key WHERE chunk NOT IN (SELECT row FROM chunk);
DELETE FROM edit_vector WHERE edit NOT IN (SELECT id FROM edit);
DELETE FROM edit_checksum WHERE edit NOT IN (SELECT id FROM edit);
DELETE FROM entity WHERE row NOT IN (SELECT entity FROM mention);
DELETE FROM entity_vector WHERE entity NOT IN (SELECT row FROM entity);
DELETE FROM entity_checksum WHERE entity NOT IN (SELECT row FROM entity);

-- name: rebuild_graph
UPDATE entity SET mentions = (SELECT count(*) FROM mention WHERE entity = entity.row);
DELETE FROM entity_value;
INSERT INTO entity_value (entity, kind, hash, value, count)
SELECT entity, 'name', text_hash(CAST(name AS BLOB)), name, count(*)
FROM mention GROUP BY entity, name
UNION ALL
SELECT entity, 'type', text_hash(CAST(type AS BLOB)), type, count(*)
FROM mention WHERE type <> '' GROUP BY entity, type
UNION ALL
SELECT entity, 'description', text_hash(CAST(description AS BLOB)), description, count(*)
FROM mention WHERE description <> '' GROUP BY entity, description;
DELETE FROM relation;
INSERT INTO relation (source, target, assertions, weight)
SELECT source, target, count(*), sum(weight) FROM (
    SELECT source, target, weight FROM assertion
    UNION ALL SELECT target, source, weight FROM assertion
) GROUP BY source, target;
DELETE FROM relation_value;
INSERT INTO relation_value (low, high, kind, hash, value, count)
SELECT min(source, target), max(source, target), 'keywords',
       text_hash(CAST(keywords AS BLOB)), keywords, count(*)
FROM assertion WHERE keywords <> '' GROUP BY 1, 2, keywords
UNION ALL
SELECT min(source, target), max(source, target), 'description',
       text_hash(CAST(description AS BLOB)), description, count(*)
FROM assertion WHERE description <> '' GROUP BY 1, 2, description;

-- name: rebuild_words
INSERT INTO lexical (lexical) VALUES ('rebuild');
DELETE FROM term;
INSERT INTO term (term, chunks) SELECT term, doc FROM temp.word;

-- name: rebuild_held_in_memory
UPDATE chunk_vector SET
    id = (SELECT id FROM chunk WHERE row = chunk_vector.chunk),
    document = (SELECT document FROM chunk WHERE row = chunk_vector.chunk),
    length = (SELECT words(CAST(lexemes AS BLOB)) FROM lexeme WHERE chunk = chunk_vector.chunk);
UPDATE entity_vector SET id = (SELECT id FROM entity WHERE row = entity_vector.entity);

-- name: set_packed
UPDATE chunk_vector SET mentions = ? WHERE chunk = ?;

-- name: remove_all_fields
DELETE FROM field_value;
DELETE FROM field;

-- name: rebuild_totals
DELETE FROM meta WHERE key IN ('documents', 'chunks', 'length', 'mentions', 'assertions', 'entities',
                               'relations');
INSERT INTO meta (key, value)
SELECT 'documents', count(*) FROM document WHERE current IS NOT NULL
UNION ALL SELECT 'chunks', count(*) FROM chunk
UNION ALL SELECT 'length', coalesce(sum(words(CAST(lexemes AS BLOB))), 0) FROM lexeme
UNION ALL SELECT 'mentions', count(*) FROM mention
UNION ALL SELECT 'assertions', count(*) FROM assertion
UNION ALL SELECT 'entities', count(DISTINCT entity) FROM mention
UNION ALL SELECT 'relations', count(*) FROM
    (SELECT DISTINCT min(source, target), max(source, target) FROM assertion);

-- name: unsealed_chunks
SELECT row FROM chunk
WHERE row NOT IN (SELECT chunk FROM chunk_checksum) OR row IN (SELECT value FROM json_each(?));

-- name: unsealed_edits
SELECT DISTINCT edit FROM edit_vector AS v
WHERE key IN (SELECT value FROM json_each(?))
   OR NOT EXISTS (SELECT 1 FROM edit_checksum WHERE key = v.key AND edit = v.edit);

-- name: unsealed_entities
SELECT row FROM entity
WHERE row NOT IN (SELECT entity FROM entity_checksum) OR row IN (SELECT value FROM json_each(?));

-- ---------------------------------------------------------------- salvage

-- name: version_rows
SELECT row FROM version NOT INDEXED;

-- name: version_by_row
WHERE v.row = ?;
