-- The orders in which documents and versions are listed.
CREATE INDEX version_title ON version (
    status, lower(coalesce(nullif(coalesce(submitted_title, title), ''), source))
) WHERE status = 'indexed';
CREATE INDEX version_size ON version (status, size) WHERE status = 'indexed';
CREATE INDEX document_created ON document (created_at, id) WHERE current IS NOT NULL;
CREATE INDEX document_updated ON document (updated_at, id) WHERE current IS NOT NULL;
CREATE INDEX version_listed ON version (requested_at);
CREATE INDEX version_standing ON version (status, requested_at);
