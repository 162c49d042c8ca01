-- name: page
SELECT namespace_id, version, details, created_at, shredded_at, notification_version, is_global, data
FROM namespaces WHERE namespace_id > $1 AND shredded_at IS NULL AND deleted_at IS NULL ORDER BY namespace_id LIMIT $2

-- name: lock
SELECT namespace_id, version, details, notification_version, data, shredded_at, deleted_at FROM namespaces WHERE namespace_id = $1 FOR UPDATE

-- name: update
UPDATE namespaces SET notification_version = $2, is_global = $3, data = $4 WHERE namespace_id = $1

-- name: rename
-- Every writer of a name holds the lock on namespace_metadata, so no other writer takes this name meanwhile.
UPDATE namespaces SET name_token = $2, version = version + 1, details = $3
WHERE namespace_id = $1 AND NOT EXISTS (SELECT FROM namespaces other WHERE other.name_token = $2 AND other.deleted_at IS NULL AND other.namespace_id <> $1)
RETURNING version
