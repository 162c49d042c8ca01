-- name: create
INSERT INTO task_queues (range_hash, namespace_id, task_queue_id, task_type, fair, range_id, range_mac, data)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING range_id

-- name: get
SELECT range_id, range_mac, data FROM task_queues
WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5

-- name: update
-- Waits for calls of create_tasks, which hold the row FOR SHARE. Later calls see the new range_id.
UPDATE task_queues SET range_id = $6, range_mac = $7, data = $8
WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5 AND range_id = $9 AND range_mac = $10
RETURNING range_id

-- name: delete
DELETE FROM task_queues
WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5 AND range_id = $6 AND range_mac = $7
RETURNING range_id

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
DELETE FROM tasks
WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3 AND task_type = $4 AND fair = $5
  AND ctid = ANY (ARRAY(
    SELECT t.ctid FROM tasks AS t
    WHERE t.range_hash = $1 AND t.namespace_id = $2 AND t.task_queue_id = $3 AND t.task_type = $4 AND t.fair = $5
      AND (t.pass, t.task_id) < ($6, $7)
    ORDER BY t.pass, t.task_id LIMIT $8))
