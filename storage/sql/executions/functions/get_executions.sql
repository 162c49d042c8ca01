-- The mutable state of several runs, a row for each run. One statement sees the run and all its maps in one snapshot.
CREATE FUNCTION get_executions(
    p_shard integer,          -- on a Citus cluster the shard of all runs; not used elsewhere
    k_shard integer[],
    k_namespace uuid[],
    k_workflow bytea[],
    k_run uuid[]
)
RETURNS TABLE (
    number integer,
    next_event_id bigint,
    last_write_version bigint,
    db_record_version bigint,
    data bytea,
    maps smallint[],
    items bytea[],
    blobs bytea[]
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(k_namespace, ','), ''), true);
    RETURN QUERY
    SELECT k.number::integer, e.next_event_id, e.last_write_version, e.db_record_version, e.data, m.maps, m.items, m.blobs
    FROM unnest(k_shard, k_namespace, k_workflow, k_run) WITH ORDINALITY AS k (shard_id, namespace_id, workflow_id, run_id, number)
    JOIN strongroom.executions e
        ON e.shard_id = k.shard_id AND e.namespace_id = k.namespace_id AND e.workflow_id = k.workflow_id AND e.run_id = k.run_id
        /* confined: AND e.shard_id = p_shard */
    LEFT JOIN LATERAL (
        SELECT array_agg(m.map) AS maps, array_agg(m.item) AS items, array_agg(m.data) AS blobs
        FROM strongroom.execution_maps m
        WHERE m.shard_id = k.shard_id AND m.namespace_id = k.namespace_id AND m.workflow_id = k.workflow_id AND m.run_id = k.run_id
        /* confined: AND m.shard_id = p_shard */
    ) m ON true;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
