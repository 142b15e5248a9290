-- Checksums of what is nowhere twice, so that damage to it is found and told from damage to what is
-- derived from it.

CREATE TABLE chunk_checksum (
    chunk INTEGER PRIMARY KEY REFERENCES chunk (row),
    passage INTEGER NOT NULL,
    lexemes INTEGER NOT NULL,
    vector INTEGER NOT NULL,
    evidence INTEGER NOT NULL
);
CREATE TABLE entity_checksum (
    entity INTEGER PRIMARY KEY REFERENCES entity (row),
    vector INTEGER NOT NULL
);

INSERT INTO chunk_checksum (chunk, passage, lexemes, vector, evidence)
SELECT c.row,
       checksum(c.id, c.document, c.ordinal, CAST(c.text AS BLOB), c.start, c."end", c.tokens,
                c.first_page, c.last_page, CAST(c.heading_path AS BLOB)),
       checksum(CAST(l.lexemes AS BLOB)),
       checksum(v.vector),
       (SELECT coalesce(sum(checksum(entity, CAST(name AS BLOB), CAST(type AS BLOB),
                                     CAST(description AS BLOB), weight, CAST(written AS BLOB))), 0)
        FROM mention WHERE chunk = c.row)
       + (SELECT coalesce(sum(checksum(source, target, CAST(source_name AS BLOB),
                                       CAST(target_name AS BLOB), CAST(keywords AS BLOB),
                                       CAST(description AS BLOB), weight)), 0)
          FROM assertion WHERE chunk = c.row)
FROM chunk AS c
JOIN lexeme AS l ON l.chunk = c.row
JOIN chunk_vector AS v ON v.chunk = c.row;

INSERT INTO entity_checksum (entity, vector)
SELECT e.row, checksum(v.vector) FROM entity AS e JOIN entity_vector AS v ON v.entity = e.row;
