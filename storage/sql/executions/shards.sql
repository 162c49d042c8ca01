-- name: get
SELECT range_id, range_mac, data FROM shards WHERE shard_id = $1

-- name: create
INSERT INTO shards (shard_id, range_id, range_mac, data) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: update
-- Waits for the writes that hold the row FOR SHARE. Later writes see the new range_id.
UPDATE shards SET range_id = $2, range_mac = $3, data = $4 WHERE shard_id = $1 AND range_id = $5 AND range_mac = $6 RETURNING range_id
