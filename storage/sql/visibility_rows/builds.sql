-- name: current
SELECT target, after_shard_id, after_namespace_id, after_id FROM search_index_builds

-- name: begin
INSERT INTO search_index_builds (target) VALUES ($1) ON CONFLICT (only_row) DO NOTHING RETURNING target

-- name: progress
UPDATE search_index_builds SET after_shard_id = $2, after_namespace_id = $3, after_id = $4 WHERE target = $1 RETURNING target

-- name: end
DELETE FROM search_index_builds WHERE target = $1
