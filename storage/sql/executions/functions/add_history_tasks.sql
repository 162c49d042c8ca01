-- Add history tasks if the shard has this range_id. The range_id can't change before they are committed. Returns 0 if they were added, 1 if
-- the shard has another range_id, and 5 if its range_id does not fit its MAC: the reasons of `write_executions`.
CREATE FUNCTION add_history_tasks(
    p_shard integer,
    p_range bigint,
    p_mac bytea,              -- the MAC of p_range
    p_namespace uuid,
    t_category smallint[],
    t_fire_time bigint[],
    t_task bigint[],
    t_data bytea[],
    p_writer uuid,            -- the entry of the journal
    p_number bigint,
    p_entry bytea
)
RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    fits boolean;
    authentic boolean;
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(p_namespace::text, ''), true);
    SELECT s.range_id = p_range, s.range_mac = p_mac INTO fits, authentic
    FROM strongroom.shards s WHERE s.shard_id = p_shard FOR SHARE;
    IF fits AND authentic THEN
        INSERT INTO strongroom.history_tasks (shard_id, category_id, fire_time, task_id, namespace_id, data)
        SELECT p_shard, t.category_id, t.fire_time, t.task_id, p_namespace, t.data
        FROM unnest(t_category, t_fire_time, t_task, t_data) AS t (category_id, fire_time, task_id, data);
        INSERT INTO strongroom.journal (shard_id, writer, number, data, replaced) VALUES (p_shard, p_writer, p_number, p_entry, '');
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
    RETURN CASE WHEN fits AND authentic THEN 0 WHEN fits IS DISTINCT FROM authentic THEN 5 ELSE 1 END;
END
$$;
