-- name: get
SELECT fire_time, task_id, namespace_id, data FROM history_tasks
WHERE shard_id = $1 AND category_id = $2 AND (fire_time, task_id) >= ($3, $4) AND (fire_time, task_id) < ($5, $6)
ORDER BY fire_time, task_id LIMIT $7

-- name: range_complete
-- $7, $8 and $9: the entry of the journal. Returns the digest of what it replaced; NULL for nothing.
WITH deleted AS (
    DELETE FROM history_tasks
    WHERE shard_id = $1 AND category_id = $2 AND (fire_time, task_id) >= ($3, $4) AND (fire_time, task_id) < ($5, $6)
    RETURNING '\x003303'::bytea || uuid_send(namespace_id) || int2send(category_id) || int8send(fire_time) || int8send(task_id)
              || substr(data, octet_length(data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT $1, $7, $8, $9, coalesce(string_agg(image, ''), '') FROM deleted
RETURNING sha256(nullif(replaced, '')) AS digest

-- name: put_dlq
-- In a transaction, because the journal needs the replaced row. No row is returned if there is one.
INSERT INTO replication_dlq_tasks (shard_id, source_cluster_name, task_id, namespace_id, data) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT DO NOTHING RETURNING task_id

-- name: delete_dlq
DELETE FROM replication_dlq_tasks WHERE shard_id = $1 AND source_cluster_name = $2 AND task_id = $3
RETURNING namespace_id, data

-- name: get_dlq
SELECT task_id, namespace_id, data FROM replication_dlq_tasks
WHERE shard_id = $1 AND source_cluster_name = $2 AND task_id >= $3 AND task_id < $4
ORDER BY task_id LIMIT $5

-- name: range_delete_dlq
-- $5, $6 and $7: the entry of the journal. An image has the length of the cluster's name. On a Citus cluster convert_to() can't be in the
-- RETURNING clause.
WITH deleted AS (
    DELETE FROM replication_dlq_tasks WHERE shard_id = $1 AND source_cluster_name = $2 AND task_id >= $3 AND task_id < $4
    RETURNING namespace_id, source_cluster_name, task_id, data
), old AS (
    SELECT '\x0c'::bytea || uuid_send(namespace_id) || convert_to(source_cluster_name, 'UTF8') || int8send(task_id)
           || substr(data, octet_length(data) - 15) AS image
    FROM deleted
)
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT $1, $5, $6, $7, string_agg(int2send(octet_length(image)::smallint) || image, '') FROM old HAVING count(*) > 0
RETURNING sha256(replaced) AS digest

-- name: any_dlq
SELECT 1 FROM replication_dlq_tasks WHERE shard_id = $1 AND source_cluster_name = $2 AND task_id >= $3 LIMIT 1
