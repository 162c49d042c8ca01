-- name: current
SELECT build, target, moving, after_shard_id, after_namespace_id, after_id FROM search_index_builds

-- name: begin
INSERT INTO search_index_builds (build, target) VALUES ($1, $2) ON CONFLICT (only_row) DO NOTHING RETURNING target

-- name: progress
UPDATE search_index_builds SET after_shard_id = $2, after_namespace_id = $3, after_id = $4
WHERE build = $1 AND NOT moving RETURNING target

-- name: move
UPDATE search_index_builds SET moving = true WHERE build = $1 RETURNING target

-- name: stop
DELETE FROM search_index_builds WHERE build = $1 AND NOT moving RETURNING target

-- name: end
DELETE FROM search_index_builds WHERE build = $1
