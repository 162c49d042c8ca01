-- name: get
SELECT next_message_id, version, data FROM queues WHERE queue_type = $1

-- name: lock
SELECT next_message_id, version, data FROM queues WHERE queue_type = $1 FOR UPDATE

-- name: create
INSERT INTO queues (queue_type, next_message_id, version, data) VALUES ($1, 0, 0, $2) ON CONFLICT DO NOTHING RETURNING queue_type

-- name: insert_message
INSERT INTO queue_messages (queue_type, message_id, namespace_id, data) VALUES ($1, $2, $3, $4)

-- name: advance
UPDATE queues SET next_message_id = next_message_id + 1, data = $2 WHERE queue_type = $1

-- name: update
UPDATE queues SET version = version + 1, data = $2 WHERE queue_type = $1

-- name: init
UPDATE queues SET data = $2 WHERE queue_type = $1

-- name: read
SELECT message_id, data FROM queue_messages
WHERE queue_type = $1 AND message_id > $2 AND ($3::bigint IS NULL OR message_id <= $3)
ORDER BY message_id LIMIT $4

-- name: delete_range
-- The last four parameters are an entry of the journal. The images are those of kms/FORMAT.md section 7.7 after their length.
WITH deleted AS (
    DELETE FROM queue_messages WHERE queue_type = $1 AND message_id > $2 AND message_id <= $3
    RETURNING '\x002d0e'::bytea || uuid_send(namespace_id) || int4send(queue_type) || int8send(message_id)
              || substr(data, octet_length(data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT $4, $5, $6, $7, string_agg(image, '') FROM deleted HAVING count(*) > 0
RETURNING sha256(replaced) AS digest
