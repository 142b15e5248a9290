-- Checksums of the vectors that edits may bring to light: they are nowhere else.

CREATE TABLE edit_checksum (
    key TEXT NOT NULL,
    edit TEXT NOT NULL REFERENCES edit (id),
    vector INTEGER NOT NULL,
    PRIMARY KEY (key, edit)
) WITHOUT ROWID;

INSERT INTO edit_checksum (key, edit, vector)
SELECT key, edit, checksum(vector) FROM edit_vector;
