-- name: get
SELECT range_id, data FROM shards WHERE shard_id = $1

-- name: create
INSERT INTO shards (shard_id, range_id, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: update
-- Waits for the writes that hold the row FOR SHARE. Later writes see the new range_id.
UPDATE shards SET range_id = $2, data = $3 WHERE shard_id = $1 AND range_id = $4 RETURNING range_id
