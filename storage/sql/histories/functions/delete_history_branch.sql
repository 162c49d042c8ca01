-- Delete a branch's row and ranges of nodes if the tree still has the branches that the caller read. If not, delete nothing and return
-- false. All rows of the tree are locked before they are compared, so that no branch is forked or deleted in between.
CREATE FUNCTION delete_history_branch(
    p_shard integer,
    p_namespace uuid,
    p_tree uuid,
    p_branch uuid,
    p_known uuid[],           -- the branches of the tree, in order
    d_branch uuid[],          -- the branches whose nodes are deleted, from d_node on
    d_node bigint[],
    p_holder uuid,            -- the branch whose row gets the new list of branches; NULL for none
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
        DELETE FROM strongroom.history_tree AS t
        WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree AND t.branch_id = p_branch;
        UPDATE strongroom.history_tree AS t SET data = p_holder_data
        WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree AND t.branch_id = p_holder;
        DELETE FROM strongroom.history_node AS n USING unnest(d_branch, d_node) AS d (branch_id, node_id)
        WHERE n.shard_id = p_shard AND n.namespace_id = p_namespace AND n.tree_id = p_tree
          AND n.branch_id = d.branch_id AND n.node_id >= d.node_id;
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
    RETURN unchanged;
END
$$;
