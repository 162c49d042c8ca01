-- name: create
INSERT INTO task_queues (range_hash, namespace_id, task_queue_id, task_type, fair, range_id, range_mac, data)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING range_id

-- name: get
SELECT range_id, range_mac, data FROM task_queues
WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5

-- name: update
-- In this and the next statements, the last four parameters are an entry of the journal, with the shard of the queue's group. The images
-- of replaced rows are those of kms/FORMAT.md section 7.7, each after its length. Each returns the digest of them.
-- Waits for calls of create_tasks, which hold the row FOR SHARE. Later calls see the new range_id.
WITH owned AS MATERIALIZED (
    SELECT data FROM task_queues
    WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5 AND range_id = $9 AND range_mac = $10
    FOR UPDATE
), updated AS (
    UPDATE task_queues AS q SET range_id = $6, range_mac = $7, data = $8 FROM owned AS o
    WHERE q.range_hash = $1 AND q.namespace_id = $2 AND q.task_queue_id = $3 AND q.task_type = $4 AND q.fair = $5
    RETURNING '\x003808'::bytea || uuid_send(q.namespace_id) || int4send(q.range_hash) || q.task_queue_id || int2send(q.task_type)
              || boolsend(q.fair) || substr(o.data, octet_length(o.data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced) SELECT $11, $12, $13, $14, image FROM updated RETURNING sha256(replaced) AS digest

-- name: delete
WITH deleted AS (
    DELETE FROM task_queues
    WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5 AND range_id = $6 AND range_mac = $7
    RETURNING '\x003808'::bytea || uuid_send(namespace_id) || int4send(range_hash) || task_queue_id || int2send(task_type)
              || boolsend(fair) || substr(data, octet_length(data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced) SELECT $8, $9, $10, $11, image FROM deleted RETURNING sha256(replaced) AS digest

-- name: list
SELECT range_hash, namespace_id, task_queue_id, task_type, range_id, data FROM task_queues
WHERE fair = $1
ORDER BY range_hash, namespace_id, task_queue_id, task_type LIMIT $2

-- name: list_after
SELECT range_hash, namespace_id, task_queue_id, task_type, range_id, data FROM task_queues
WHERE fair = $1 AND (range_hash, namespace_id, task_queue_id, task_type) > ($3, $4, $5, $6)
ORDER BY range_hash, namespace_id, task_queue_id, task_type LIMIT $2

-- name: complete
-- By ctid, because rows of tasks are never updated, and a join of keys would compare every pair.
-- $9 to $11 are the queue's token, the range id that its row must have, and the MAC of that; NULL if anyone may delete. A new owner's update
-- of the row waits for this statement, or this statement sees its range id and deletes nothing.
-- Returns the number of tasks by the length of their images; no row if there are none.
WITH owned AS MATERIALIZED (
    SELECT FROM task_queues
    WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $9 AND task_type = $4 AND fair = $5 AND range_id = $10 AND range_mac = $11
    FOR SHARE
), deleted AS (
    DELETE FROM tasks
    WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5
      AND ctid = ANY (ARRAY(
        SELECT t.ctid FROM tasks AS t
        WHERE t.range_hash = $1 AND t.namespace_id = $2 AND t.task_queue_id = $3 AND t.task_type = $4 AND t.fair = $5
          AND (t.pass, t.task_id) < ($6, $7) AND ($10::bigint IS NULL OR EXISTS (SELECT FROM owned))
        ORDER BY t.pass, t.task_id LIMIT $8))
    RETURNING '\x004807'::bytea || uuid_send(namespace_id) || int4send(range_hash) || task_queue_id || int2send(task_type)
              || boolsend(fair) || int8send(pass) || int8send(task_id) || substr(data, octet_length(data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT $12, $13, $14, $15, string_agg(image, '') FROM deleted HAVING count(*) > 0
RETURNING octet_length(replaced) / 74 AS tasks, sha256(replaced) AS digest
