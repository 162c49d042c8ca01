-- Write the row of a new branch, and the new list of branches into the holder's row, if the tree still has the branches that the caller read.
-- If not, write nothing and return false. All rows of the tree are locked before they are compared, as in `delete_history_branch`.
CREATE FUNCTION fork_history_branch(
    p_shard integer,
    p_namespace uuid,
    p_tree uuid,
    p_known uuid[],           -- the branches of the tree, in order
    p_branch uuid,
    p_data bytea,
    p_holder uuid,
    p_holder_data bytea
)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    unchanged boolean;
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(p_namespace::text, ''), true);
    PERFORM 1 FROM strongroom.history_tree AS t
    WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree
    ORDER BY t.branch_id FOR UPDATE;
    -- A separate statement, so that it sees what was committed while this one waited for the locks.
    unchanged := p_known IS NOT DISTINCT FROM ARRAY(
        SELECT t.branch_id FROM strongroom.history_tree AS t
        WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree
        ORDER BY t.branch_id
    );
    IF unchanged THEN
        INSERT INTO strongroom.history_tree (shard_id, namespace_id, tree_id, branch_id, data)
        VALUES (p_shard, p_namespace, p_tree, p_branch, p_data)
        ON CONFLICT (shard_id, namespace_id, tree_id, branch_id) DO NOTHING;
        unchanged := FOUND;
        IF unchanged THEN
            UPDATE strongroom.history_tree AS t SET data = p_holder_data
            WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree AND t.branch_id = p_holder;
        END IF;
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
    RETURN unchanged;
END
$$;
