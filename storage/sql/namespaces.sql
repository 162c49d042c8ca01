-- name: insert
INSERT INTO namespaces (namespace_id, name_token, version, details, created_at) VALUES ($1, $2, 1, $3, $4)
ON CONFLICT DO NOTHING RETURNING namespace_id

-- name: get_by_token
SELECT namespace_id, version, details, created_at, shredded_at FROM namespaces WHERE name_token = $1

-- name: get_by_id
SELECT namespace_id, version, details, created_at, shredded_at FROM namespaces WHERE namespace_id = $1

-- name: list
SELECT namespace_id, version, details, created_at, shredded_at FROM namespaces ORDER BY created_at, namespace_id

-- name: update
UPDATE namespaces SET version = version + 1, details = $3 WHERE namespace_id = $1 AND version = $2 RETURNING version

-- name: shred
UPDATE namespaces SET name_token = NULL, details = NULL, version = version + 1, shredded_at = $2
WHERE namespace_id = $1 AND shredded_at IS NULL

-- name: purge_history_node
DELETE FROM history_node WHERE namespace_id = $1

-- name: purge_history_tree
DELETE FROM history_tree WHERE namespace_id = $1

-- name: purge_visibility_records
DELETE FROM visibility_records WHERE namespace_id = $1
