-- name: insert
INSERT INTO namespaces
    (namespace_id, name_token, version, details, created_at, notification_version, is_global, data)
VALUES ($1, $2, 1, $3, $4, $5, $6, $7)
ON CONFLICT DO NOTHING RETURNING namespace_id

-- name: get_by_token
SELECT name_token, namespace_id, version, details, created_at, shredded_at, deleted_at, notification_version, is_global, data
FROM namespaces WHERE name_token = ANY ($1::bytea[]) AND deleted_at IS NULL

-- name: get_by_id
SELECT namespace_id, version, details, created_at, shredded_at, deleted_at, notification_version, is_global, data
FROM namespaces WHERE namespace_id = ANY ($1::uuid[])

-- name: list
SELECT namespaces.namespace_id, version, details, created_at, shredded_at, deleted_at, notification_version,
       CASE WHEN confirmed_at IS NULL THEN due_at END AS shred_due_at
FROM namespaces LEFT JOIN shreddings ON shreddings.namespace_id = namespaces.namespace_id
ORDER BY created_at, namespaces.namespace_id

-- name: lock
SELECT namespace_id, version, details, notification_version, data FROM namespaces
WHERE namespace_id = $1 AND version = $2 FOR UPDATE

-- name: update
UPDATE namespaces SET version = version + 1, details = $3 WHERE namespace_id = $1 AND version = $2 RETURNING version

-- name: get_version
SELECT notification_version FROM namespace_metadata

-- name: lock_version
SELECT notification_version FROM namespace_metadata FOR UPDATE

-- name: raise_version
UPDATE namespace_metadata SET notification_version = notification_version + 1
