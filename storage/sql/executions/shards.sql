-- name: get
SELECT range_id, range_mac, data FROM shards WHERE shard_id = $1

-- name: create
INSERT INTO shards (shard_id, range_id, range_mac, data) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING shard_id

-- name: update
-- Waits for the writes that hold the row FOR SHARE. Later writes see the new range_id.
-- $10: a number that the sums of the shard must have, so that an older shard that was put back gets no new owner.
-- $7, $8 and $9: the entry of the journal. Returns the digest of what it replaced. The image of the replaced row is that of kms/FORMAT.md section 7.7 after its length.
WITH owned AS MATERIALIZED (
    SELECT data FROM shards WHERE shard_id = $1 AND range_id = $5 AND range_mac = $6
      AND $10 <= coalesce((SELECT number FROM journal_sums WHERE shard_id = $1), 0) FOR UPDATE
), updated AS (
    UPDATE shards AS s SET range_id = $2, range_mac = $3, data = $4 FROM owned AS o WHERE s.shard_id = $1
    RETURNING '\x00210b00000000000000000000000000000000'::bytea || substr(o.data, octet_length(o.data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced) SELECT $1, $7, $8, $9, image FROM updated RETURNING sha256(replaced) AS digest
