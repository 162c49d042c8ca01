-- Add tasks to the queues of several requests. A queue's row is locked FOR SHARE until the commit: writers of a queue don't wait for
-- each other, and a new owner's update of range_id waits for them, or they see the new range_id. Returns the numbers, from 1, of the
-- requests whose queue is missing or has another range_id, and whether the range_id does not fit its MAC. If it returns any, nothing is
-- written, because an entry of the journal has tasks of several requests. A task that exists fails the whole statement.
CREATE FUNCTION create_tasks(
    p_shard integer,          -- the range_hash of all requests on a Citus cluster; unused elsewhere
    p_fair boolean,
    q_hash integer[],
    q_namespace uuid[],
    q_queue bytea[],
    q_type smallint[],
    q_range bigint[],
    q_macs bytea,             -- 16 bytes for each: the MAC of q_range
    s_request integer[],      -- the request of each queue or subqueue that gets tasks
    s_queue bytea[],
    t_part integer[],         -- the number of the queue or subqueue of each task
    t_pass bigint[],
    t_task bigint[],
    t_data bytea[],
    j_writer uuid,            -- entries of the journal, one for each group of queues
    j_shard integer[],
    j_number bigint[],
    j_data bytea[]
)
RETURNS TABLE (request integer, altered boolean) LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    owned integer[];
    forged integer[];
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(q_namespace, ','), ''), true);
    SELECT coalesce(array_agg(held.number) FILTER (WHERE held.fits AND held.authentic), '{}'),
           coalesce(array_agg(held.number) FILTER (WHERE held.fits <> held.authentic), '{}')
    INTO owned, forged
    FROM (
        SELECT q.number::integer AS number, k.range_id = q.range_id AS fits, k.range_mac = substr(q_macs, q.number::integer * 16 - 15, 16) AS authentic
        FROM unnest(q_hash, q_namespace, q_queue, q_type, q_range)
             WITH ORDINALITY AS q (range_hash, namespace_id, task_queue_id, task_type, range_id, number)
        JOIN strongroom.task_queues AS k
          ON k.range_hash = q.range_hash AND k.namespace_id = q.namespace_id AND k.task_queue_id = q.task_queue_id
         AND k.task_type = q.task_type AND k.fair = p_fair
         /* confined: AND k.range_hash = p_shard */
        FOR SHARE OF k
    ) AS held;
    IF cardinality(owned) < cardinality(q_hash) THEN
        RETURN QUERY SELECT n, n = ANY (forged) FROM generate_series(1, cardinality(q_hash)) AS n WHERE n <> ALL (owned);
        PERFORM set_config('strongroom.namespaces', callers, true);
        RETURN;
    END IF;
    INSERT INTO strongroom.tasks (range_hash, namespace_id, task_queue_id, task_type, fair, pass, task_id, data)
    SELECT t.range_hash, q_namespace[t.request], s_queue[t.part], q_type[t.request], p_fair, t.pass, t.task_id, t.data
    FROM (
        SELECT q_hash[s_request[k.part]] AS range_hash, s_request[k.part] AS request, k.part, k.pass, k.task_id, k.data
        FROM unnest(t_part, t_pass, t_task, t_data) AS k (part, pass, task_id, data)
    ) AS t
    /* confined: WHERE t.range_hash = p_shard */;
    INSERT INTO strongroom.journal (shard_id, writer, number, data, replaced)
    SELECT j.shard_id, j_writer, j.number, j.data, '' FROM unnest(j_shard, j_number, j_data) AS j (shard_id, number, data);
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
