-- The whole schema of a workspace's file, as the migrations leave it.

-- The schema's number, the write counter, the embedding model, and totals as exact counters.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

CREATE TABLE document (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    current INTEGER REFERENCES version (row),
    created_at REAL,
    updated_at REAL
);
CREATE INDEX document_visible ON document (id) WHERE current IS NOT NULL;
CREATE INDEX document_created ON document (created_at, id) WHERE current IS NOT NULL;
CREATE INDEX document_updated ON document (updated_at, id) WHERE current IS NOT NULL;

-- A version is also its job. `claimable_at` is when a pending one may be claimed, or when the lease
-- of a running one ends; `process` is the file in the data folder that whoever claimed it holds
-- locked for as long as it lives.
CREATE TABLE version (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    document INTEGER NOT NULL REFERENCES document (row),
    number INTEGER NOT NULL,
    source TEXT NOT NULL,
    root TEXT,
    submitted_title TEXT,
    metadata TEXT NOT NULL,
    content_hash TEXT NOT NULL,
    size INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    status TEXT NOT NULL,
    stage TEXT,
    attempt INTEGER NOT NULL DEFAULT 0,
    epoch INTEGER NOT NULL DEFAULT 0,
    worker TEXT,
    claimable_at REAL,
    error TEXT,
    media_type TEXT,
    title TEXT,
    parsed_hash TEXT,
    warnings TEXT NOT NULL DEFAULT '[]',
    chunks INTEGER NOT NULL DEFAULT 0,
    requested_at REAL NOT NULL,
    finished_at REAL,
    error_code TEXT,
    process TEXT,
    usage TEXT NOT NULL DEFAULT '[{},0]',
    UNIQUE (document, number)
);
CREATE INDEX version_requested ON version (requested_at) WHERE status IN ('pending', 'running');
CREATE INDEX version_waiting ON version (status, claimable_at) WHERE status IN ('pending', 'running');
CREATE INDEX version_listed ON version (requested_at);
CREATE INDEX version_standing ON version (status, requested_at);
-- Of the versions that answer, which are the indexed ones: what a document is called, and its size.
CREATE INDEX version_title ON version (
    status, lower(coalesce(nullif(coalesce(submitted_title, title), ''), source))
) WHERE status = 'indexed';
CREATE INDEX version_size ON version (status, size) WHERE status = 'indexed';

-- Evidence of versions that are not visible yet, a row a chunk, unpacked by `finish`.
CREATE TABLE staged_chunk (
    version INTEGER NOT NULL REFERENCES version (row),
    ordinal INTEGER NOT NULL,
    chunk TEXT NOT NULL,
    lexemes TEXT NOT NULL,
    extraction TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (version, ordinal)
) WITHOUT ROWID;
CREATE TABLE staged_name (
    version INTEGER NOT NULL REFERENCES version (row),
    key TEXT NOT NULL,
    vector BLOB,
    PRIMARY KEY (version, key)
) WITHOUT ROWID;

-- Everything below belongs to current versions only.

-- Metadata for filters. `kind` is 'text', 'number' or 'boolean': values compare within a kind.
CREATE TABLE field_value (
    field TEXT NOT NULL,
    kind TEXT NOT NULL,
    value NOT NULL,
    document INTEGER NOT NULL REFERENCES document (row),
    PRIMARY KEY (field, kind, value, document)
) WITHOUT ROWID;
CREATE INDEX field_value_document ON field_value (document);
CREATE TABLE field (
    name TEXT PRIMARY KEY,
    documents INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE chunk (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL UNIQUE,
    document INTEGER NOT NULL REFERENCES document (row),
    ordinal INTEGER NOT NULL,
    text TEXT NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    first_page INTEGER,
    last_page INTEGER,
    heading_path TEXT NOT NULL
);
CREATE INDEX chunk_document ON chunk (document, ordinal);

-- What a process holds in memory of each chunk, apart from its text so that it is read quickly:
-- its number of lexemes, the vector (float16) and its mentions (entity row and weight, int32 each; by weight descending,
-- then the entity's id).
CREATE TABLE chunk_vector (
    chunk INTEGER PRIMARY KEY REFERENCES chunk (row),
    id INTEGER NOT NULL,
    document INTEGER NOT NULL REFERENCES document (row),
    length INTEGER NOT NULL,
    vector BLOB NOT NULL,
    mentions BLOB NOT NULL
);

CREATE TABLE lexeme (
    chunk INTEGER PRIMARY KEY REFERENCES chunk (row),
    lexemes TEXT NOT NULL
);
-- The tokens are ours (core/tokens.py); `ascii` only finds them again between spaces.
CREATE VIRTUAL TABLE lexical USING fts5 (
    lexemes, content = 'lexeme', content_rowid = 'chunk', tokenize = 'ascii'
);
CREATE VIRTUAL TABLE occurrence USING fts5vocab ('lexical', 'instance');
CREATE TABLE term (
    term TEXT PRIMARY KEY,
    chunks INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE entity (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL UNIQUE,
    key TEXT NOT NULL,
    mentions INTEGER NOT NULL
);
CREATE INDEX entity_mentions ON entity (mentions DESC, id);
CREATE TABLE entity_vector (
    entity INTEGER PRIMARY KEY REFERENCES entity (row),
    id INTEGER NOT NULL,
    vector BLOB NOT NULL
);
-- Counted values of an entity: `kind` is 'name', 'type' or 'description'. Descriptions are ordered
-- by hash, so that the first few distinct ones are read through the primary key.
CREATE TABLE entity_value (
    entity INTEGER NOT NULL REFERENCES entity (row),
    kind TEXT NOT NULL,
    hash TEXT NOT NULL,
    value TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (entity, kind, hash)
) WITHOUT ROWID;

CREATE TABLE mention (
    chunk INTEGER NOT NULL REFERENCES chunk (row),
    entity INTEGER NOT NULL REFERENCES entity (row),
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT NOT NULL,
    weight INTEGER NOT NULL, written TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (chunk, entity)
) WITHOUT ROWID;
CREATE INDEX mention_entity ON mention (entity, weight DESC, chunk);

CREATE TABLE assertion (
    chunk INTEGER NOT NULL REFERENCES chunk (row),
    source INTEGER NOT NULL REFERENCES entity (row),
    target INTEGER NOT NULL REFERENCES entity (row),
    source_name TEXT NOT NULL,
    target_name TEXT NOT NULL,
    keywords TEXT NOT NULL,
    description TEXT NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (chunk, source, target)
) WITHOUT ROWID;
CREATE INDEX assertion_source ON assertion (source, target);
CREATE INDEX assertion_target ON assertion (target, source);

-- A pair of entities, both ways round, so that the relations of either are one range.
CREATE TABLE relation (
    source INTEGER NOT NULL REFERENCES entity (row),
    target INTEGER NOT NULL REFERENCES entity (row),
    assertions INTEGER NOT NULL,
    weight INTEGER NOT NULL,
    PRIMARY KEY (source, target)
) WITHOUT ROWID;
CREATE INDEX relation_weight ON relation (source, weight DESC, target);
-- Counted keywords and descriptions of a pair, the lower row first.
CREATE TABLE relation_value (
    low INTEGER NOT NULL REFERENCES entity (row),
    high INTEGER NOT NULL REFERENCES entity (row),
    kind TEXT NOT NULL,
    hash TEXT NOT NULL,
    value TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (low, high, kind, hash)
) WITHOUT ROWID;

-- Edits by hand. `kind` is 'alias' (name and key of the source, then of the target) or 'suppression'
-- (of an entity, or of what joins it to the other one).
CREATE TABLE edit (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    other TEXT,
    key TEXT NOT NULL,
    other_key TEXT,
    made_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX edit_key ON edit (key, kind);
CREATE INDEX edit_other_key ON edit (other_key, kind);
-- Vectors of the keys that an edit is about, which it may bring to light.
CREATE TABLE edit_vector (
    key TEXT NOT NULL,
    edit TEXT NOT NULL REFERENCES edit (id),
    vector BLOB NOT NULL,
    PRIMARY KEY (key, edit)
) WITHOUT ROWID;

-- Chunks of which `mention` and `assertion` hold not what was found, but what edits make of it: what
-- was found, and the keys in it that are seen under another key, or not at all.
CREATE TABLE edited_chunk (
    chunk INTEGER PRIMARY KEY REFERENCES chunk (row),
    extraction TEXT NOT NULL
);
CREATE TABLE edited_key (
    key TEXT NOT NULL,
    chunk INTEGER NOT NULL REFERENCES chunk (row),
    PRIMARY KEY (key, chunk)
) WITHOUT ROWID;
CREATE INDEX edited_key_chunk ON edited_key (chunk);

-- At which write chunks and entities went away ('chunk', 'entity') and the mentions of a chunk
-- changed ('mentions'), for processes that hold an older state.
CREATE TABLE removed (
    counter INTEGER NOT NULL,
    kind TEXT NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (counter, kind, row)
) WITHOUT ROWID;

CREATE TABLE migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at REAL NOT NULL
);

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
CREATE TABLE edit_checksum (
    key TEXT NOT NULL,
    edit TEXT NOT NULL REFERENCES edit (id),
    vector INTEGER NOT NULL,
    PRIMARY KEY (key, edit)
) WITHOUT ROWID;
