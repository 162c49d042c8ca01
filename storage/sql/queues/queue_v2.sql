-- name: create
INSERT INTO queues_v2 (queue_type, queue_id, next_message_id, data) VALUES ($1, $2, 0, $3)
ON CONFLICT DO NOTHING RETURNING queue_id

-- name: lock
SELECT next_message_id, data FROM queues_v2 WHERE queue_type = $1 AND queue_id = $2 FOR UPDATE

-- name: exists
SELECT queue_id FROM queues_v2 WHERE queue_type = $1 AND queue_id = $2

-- name: insert_message
INSERT INTO queue_v2_messages (queue_type, queue_id, message_id, namespace_id, data) VALUES ($1, $2, $3, $4, $5)

-- name: advance
UPDATE queues_v2 SET next_message_id = next_message_id + 1, data = $3 WHERE queue_type = $1 AND queue_id = $2

-- name: read
SELECT message_id, namespace_id, data FROM queue_v2_messages
WHERE queue_type = $1 AND queue_id = $2 AND message_id > $3 ORDER BY message_id LIMIT $4

-- name: delete
-- The last four parameters are an entry of the journal. The images are those of kms/FORMAT.md section 7.7 after their length. Returns the
-- number of messages by the length of their images; no row if there are none.
WITH deleted AS (
    DELETE FROM queue_v2_messages WHERE queue_type = $1 AND queue_id = $2 AND message_id <= $3
    RETURNING '\x003d10'::bytea || uuid_send(namespace_id) || int4send(queue_type) || queue_id || int8send(message_id)
              || substr(data, octet_length(data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT $4, $5, $6, $7, string_agg(image, '') FROM deleted HAVING count(*) > 0
RETURNING octet_length(replaced) / 63 AS messages, sha256(replaced) AS digest

-- name: list
SELECT queue.queue_id, queue.next_message_id, queue.data,
    (SELECT count(*) FROM queue_v2_messages message
     WHERE message.queue_type = $1 AND message.queue_id = queue.queue_id) AS message_count
FROM queues_v2 queue WHERE queue.queue_type = $1 AND queue.queue_id > $2 ORDER BY queue.queue_id LIMIT $3
