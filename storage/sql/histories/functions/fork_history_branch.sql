-- Write the row of a new branch while the row of its base is locked, and return 1. If the base has no row, because it was deleted, write
-- nothing and return 0; if the new branch has a row already, 2. A concurrent deletion in the tree waits for the lock, and then sees the
-- new row.
CREATE FUNCTION fork_history_branch(
    p_shard integer,
    p_namespace uuid,
    p_tree uuid,
    p_base uuid,
    p_branch uuid,
    p_data bytea
)
RETURNS smallint LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    outcome smallint := 0;
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(p_namespace::text, ''), true);
    PERFORM 1 FROM strongroom.history_tree AS t
    WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree AND t.branch_id = p_base
    FOR KEY SHARE;
    IF FOUND THEN
        INSERT INTO strongroom.history_tree (shard_id, namespace_id, tree_id, branch_id, data)
        VALUES (p_shard, p_namespace, p_tree, p_branch, p_data)
        ON CONFLICT (shard_id, namespace_id, tree_id, branch_id) DO NOTHING;
        outcome := CASE WHEN FOUND THEN 1 ELSE 2 END;
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
    RETURN outcome;
END
$$;
