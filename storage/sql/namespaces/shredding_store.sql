-- name: lock_finish
-- If two processes finish one shredding, one of them waits. The transaction holds the lock, so it ends with a killed process.
SELECT pg_advisory_xact_lock(hashtextextended('shredding ' || $1::text, 0))

-- name: namespace
SELECT shredded_at, deleted_at FROM namespaces WHERE namespace_id = $1

-- name: request
INSERT INTO shreddings (namespace_id, requested_at, due_at, keep_kek) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: delete
-- The service deletes the namespace: its name is free at once, and a job confirms the shredding when it is due.
UPDATE namespaces SET deleted_at = coalesce(deleted_at, $2) WHERE namespace_id = $1 AND shredded_at IS NULL

-- name: request_automatic
INSERT INTO shreddings (namespace_id, requested_at, due_at, keep_kek, automatic) VALUES ($1, $2, $3, true, true)
ON CONFLICT DO NOTHING

-- name: due
SELECT namespace_id FROM shreddings WHERE automatic AND completed_at IS NULL AND due_at <= clock_timestamp()
ORDER BY due_at, namespace_id LIMIT $1

-- name: restore
-- Only if no other namespace has taken the name meanwhile.
UPDATE namespaces SET deleted_at = NULL
WHERE namespace_id = $1 AND NOT EXISTS (
    SELECT FROM namespaces other
    WHERE other.name_token = namespaces.name_token AND other.deleted_at IS NULL AND other.namespace_id <> $1
)
RETURNING namespace_id

-- name: cancel
DELETE FROM shreddings WHERE namespace_id = $1

-- name: confirm
UPDATE shreddings SET confirmed_at = $2 WHERE namespace_id = $1

-- name: add_rows
UPDATE shreddings
SET rows_deleted = jsonb_set(rows_deleted, ARRAY[$2::text], to_jsonb(coalesce((rows_deleted ->> $2::text)::bigint, 0) + $3::bigint))
WHERE namespace_id = $1

-- name: record_documents
UPDATE shreddings SET documents = coalesce(documents, $2) WHERE namespace_id = $1

-- name: lock_name
SELECT details, data FROM namespaces WHERE namespace_id = $1 AND shredded_at IS NULL FOR UPDATE

-- name: forget_name
UPDATE namespaces SET name_token = NULL, details = NULL, data = NULL, version = version + 1, shredded_at = $2
WHERE namespace_id = $1 AND shredded_at IS NULL

-- name: put_certificate
INSERT INTO erasure_certificates (namespace_id, issued_at, certificate) VALUES ($1, $2, $3)
ON CONFLICT (namespace_id) DO UPDATE SET issued_at = $2, certificate = $3

-- name: complete
UPDATE shreddings SET completed_at = $2 WHERE namespace_id = $1
