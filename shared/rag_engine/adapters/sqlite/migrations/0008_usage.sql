-- What it has cost to index a version: seconds by stage, and tokens.
ALTER TABLE version ADD COLUMN usage TEXT NOT NULL DEFAULT '[{},0]';
