-- The kind of a failure, and which process holds a lease.
ALTER TABLE version ADD COLUMN error_code TEXT;
ALTER TABLE version ADD COLUMN process TEXT;
