-- name: keep
-- A row that is kept already stays as it was first found.
INSERT INTO damaged_rows (partition, namespace_id, table_name, key, reason, data)
SELECT d.partition, d.namespace_id, $1, d.key, d.reason, d.data
FROM unnest($2::integer[], $3::uuid[], $4::text[], $5::text[], $6::bytea[]) AS d (partition, namespace_id, key, reason, data)
ORDER BY d.partition, d.namespace_id, d.key
ON CONFLICT (partition, namespace_id, table_name, key) DO NOTHING

-- name: counts
SELECT table_name, count(*) AS rows FROM damaged_rows GROUP BY table_name ORDER BY table_name

-- name: list
SELECT partition, namespace_id, table_name, key, reason, found_at, octet_length(data) AS size FROM damaged_rows
ORDER BY found_at DESC, table_name, partition, key LIMIT $1

-- name: forget
DELETE FROM damaged_rows WHERE found_at < $1
