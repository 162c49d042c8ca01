-- The current runs of several workflows, a row for each workflow that has one.
CREATE FUNCTION get_current_executions(
    p_shard integer,          -- on a Citus cluster the shard of all workflows; not used elsewhere
    k_shard integer[],
    k_namespace uuid[],
    k_workflow bytea[],
    k_archetype bigint[]
)
RETURNS TABLE (number integer, run_id uuid, state smallint, last_write_version bigint, data bytea) LANGUAGE plpgsql STABLE AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(k_namespace, ','), ''), true);
    RETURN QUERY
    SELECT k.number::integer, c.run_id, c.state, c.last_write_version, c.data
    FROM unnest(k_shard, k_namespace, k_workflow, k_archetype)
         WITH ORDINALITY AS k (shard_id, namespace_id, workflow_id, archetype_id, number)
    JOIN strongroom.current_executions AS c
        ON c.shard_id = k.shard_id AND c.namespace_id = k.namespace_id AND c.workflow_id = k.workflow_id
        AND c.archetype_id = k.archetype_id
        /* confined: AND c.shard_id = p_shard */;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
