-- Return a page of history tasks for each of several requests: one row of arrays for each request, in order. The arrays are NULL if there
-- is no task. A queue of a shard has tasks of all namespaces, so the function sees them all.
CREATE FUNCTION get_history_tasks(
    p_shard integer,          -- on a Citus cluster the shard of all requests; not used elsewhere
    q_shard integer[],
    q_category smallint[],
    q_min_fire_time bigint[], -- the lower bound, inclusive
    q_min_task bigint[],
    q_max_fire_time bigint[], -- the upper bound, exclusive
    q_max_task bigint[],
    q_limit integer[]
)
RETURNS TABLE (fire_times bigint[], task_ids bigint[], namespaces uuid[], sealed bytea[]) LANGUAGE plpgsql STABLE AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || '*', true);
    RETURN QUERY
    SELECT page.fire_times, page.task_ids, page.namespaces, page.sealed
    FROM unnest(q_shard, q_category, q_min_fire_time, q_min_task, q_max_fire_time, q_max_task, q_limit) WITH ORDINALITY
         AS q (shard_id, category_id, min_fire_time, min_task, max_fire_time, max_task, size, number)
    CROSS JOIN LATERAL (
        SELECT array_agg(t.fire_time) AS fire_times, array_agg(t.task_id) AS task_ids, array_agg(t.namespace_id) AS namespaces,
               array_agg(t.data) AS sealed
        FROM (
            SELECT h.fire_time, h.task_id, h.namespace_id, h.data
            FROM strongroom.history_tasks AS h
            WHERE h.shard_id = q.shard_id AND h.category_id = q.category_id
              AND (h.fire_time, h.task_id) >= (q.min_fire_time, q.min_task)
              AND (h.fire_time, h.task_id) < (q.max_fire_time, q.max_task)
              /* confined: AND h.shard_id = p_shard */
            ORDER BY h.fire_time, h.task_id
            LIMIT q.size
        ) AS t
    ) AS page
    ORDER BY q.number;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
