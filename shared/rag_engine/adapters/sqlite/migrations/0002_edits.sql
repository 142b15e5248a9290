-- Edits by hand: aliases and suppressions, and the evidence that they change.

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
CREATE TABLE edit_vector (
    key TEXT NOT NULL,
    edit TEXT NOT NULL REFERENCES edit (id),
    vector BLOB NOT NULL,
    PRIMARY KEY (key, edit)
) WITHOUT ROWID;

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

ALTER TABLE mention ADD COLUMN written TEXT NOT NULL DEFAULT '';
