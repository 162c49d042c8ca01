-- name: get
SELECT next_message_id, version, data FROM queues WHERE queue_type = $1

-- name: lock
SELECT next_message_id, version, data FROM queues WHERE queue_type = $1 FOR UPDATE

-- name: create
INSERT INTO queues (queue_type, next_message_id, version, data) VALUES ($1, 0, 0, $2) ON CONFLICT DO NOTHING

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
DELETE FROM queue_messages WHERE queue_type = $1 AND message_id > $2 AND message_id <= $3
