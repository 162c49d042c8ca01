-- Return a page of tasks for each of several requests, ordered by pass and task id: one row of arrays for each request, in order. The
-- arrays are NULL if there is no task.
CREATE FUNCTION get_tasks(
    p_shard integer,          -- the range_hash of all requests on a Citus cluster; unused elsewhere
    p_fair boolean,
    q_hash integer[],
    q_namespace uuid[],
    q_queue bytea[],
    q_type smallint[],
    q_min_pass bigint[],
    q_min_task bigint[],
    q_max_pass bigint[],      -- the upper bound, exclusive: pass and task id
    q_max_task bigint[],
    q_limit integer[]
)
RETURNS TABLE (passes bigint[], task_ids bigint[], sealed bytea[]) LANGUAGE plpgsql STABLE AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(q_namespace, ','), ''), true);
    RETURN QUERY
    SELECT page.passes, page.task_ids, page.sealed
    FROM unnest(q_hash, q_namespace, q_queue, q_type, q_min_pass, q_min_task, q_max_pass, q_max_task, q_limit)
         WITH ORDINALITY AS q (range_hash, namespace_id, task_queue_id, task_type, min_pass, min_task, max_pass, max_task, size, number)
    CROSS JOIN LATERAL (
        SELECT array_agg(t.pass) AS passes, array_agg(t.task_id) AS task_ids, array_agg(t.data) AS sealed
        FROM (
            SELECT k.pass, k.task_id, k.data
            FROM strongroom.tasks AS k
            WHERE k.range_hash = q.range_hash AND k.namespace_id = q.namespace_id AND k.task_queue_id = q.task_queue_id
              AND k.task_type = q.task_type AND k.fair = p_fair
              AND (k.pass, k.task_id) >= (q.min_pass, q.min_task) AND (k.pass, k.task_id) < (q.max_pass, q.max_task)
              /* confined: AND k.range_hash = p_shard */
            ORDER BY k.pass, k.task_id
            LIMIT q.size
        ) AS t
    ) AS page
    ORDER BY q.number;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
