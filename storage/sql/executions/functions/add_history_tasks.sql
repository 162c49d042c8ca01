-- Add history tasks if the shard has this range_id. The range_id can't change before they are committed.
CREATE FUNCTION add_history_tasks(
    p_shard integer,
    p_range bigint,
    p_namespace uuid,
    t_category smallint[],
    t_fire_time bigint[],
    t_task bigint[],
    t_data bytea[]
)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    owned boolean;
BEGIN
    PERFORM set_config('strongroom.namespaces', coalesce(p_namespace::text, ''), true);
    PERFORM FROM strongroom.shards s WHERE s.shard_id = p_shard AND s.range_id = p_range FOR SHARE;
    owned := FOUND;
    IF owned THEN
        INSERT INTO strongroom.history_tasks (shard_id, category_id, fire_time, task_id, namespace_id, data)
        SELECT p_shard, t.category_id, t.fire_time, t.task_id, p_namespace, t.data
        FROM unnest(t_category, t_fire_time, t_task, t_data) AS t (category_id, fire_time, task_id, data);
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
    RETURN owned;
END
$$;
