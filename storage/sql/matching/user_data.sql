-- name: get
SELECT version, data FROM task_queue_user_data WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = $3

-- name: versions
-- The rows are locked until the update is committed, in the order of the tokens. The journal needs their tags.
SELECT task_queue_id, version, substr(data, octet_length(data) - 15) AS tag FROM task_queue_user_data
WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id = ANY ($3)
ORDER BY task_queue_id FOR UPDATE

-- name: write
-- Writes in the order of the tokens, so that two updates of the same queues never deadlock. A row whose version changed since it was
-- read, or that was inserted since, is not written and not returned: a conflict.
INSERT INTO task_queue_user_data AS stored (range_hash, namespace_id, task_queue_id, version, data)
SELECT $1, $2, w.task_queue_id, w.version, w.data
FROM unnest($3::bytea[], $4::bigint[], $5::bytea[]) WITH ORDINALITY AS w (task_queue_id, version, data, number)
ORDER BY w.number
ON CONFLICT (range_hash, namespace_id, task_queue_id)
DO UPDATE SET version = excluded.version, data = excluded.data WHERE stored.version = excluded.version - 1
RETURNING task_queue_id

-- name: add_build_ids
INSERT INTO build_id_to_task_queue (range_hash, namespace_id, build_id, task_queue_id, data)
SELECT $1, $2, b.build_id, b.task_queue_id, b.data
FROM unnest($3::bytea[], $4::bytea[], $5::bytea[]) AS b (build_id, task_queue_id, data)
ON CONFLICT DO NOTHING RETURNING build_id, task_queue_id

-- name: remove_build_ids
DELETE FROM build_id_to_task_queue AS stored
USING unnest($3::bytea[], $4::bytea[]) AS b (build_id, task_queue_id)
WHERE stored.range_hash = $1 AND stored.namespace_id = $2
  AND stored.build_id = b.build_id AND stored.task_queue_id = b.task_queue_id
RETURNING stored.build_id, stored.task_queue_id, substr(stored.data, octet_length(stored.data) - 15) AS tag

-- name: list
SELECT task_queue_id, version, data FROM task_queue_user_data
WHERE range_hash = $1 AND namespace_id = $2
ORDER BY task_queue_id LIMIT $3

-- name: list_after
SELECT task_queue_id, version, data FROM task_queue_user_data
WHERE range_hash = $1 AND namespace_id = $2 AND task_queue_id > $4
ORDER BY task_queue_id LIMIT $3

-- name: queues_of_build_id
SELECT task_queue_id, data FROM build_id_to_task_queue
WHERE range_hash = $1 AND namespace_id = $2 AND build_id = $3
ORDER BY task_queue_id

-- name: count_queues_of_build_id
SELECT count(*) AS queues FROM build_id_to_task_queue WHERE range_hash = $1 AND namespace_id = $2 AND build_id = $3
