-- Append history nodes of several callers. A row with an equal key is overwritten, so that repeating an append changes nothing.
CREATE FUNCTION append_history_nodes(
    p_shard integer,          -- the shard of all rows on a Citus cluster; unused elsewhere
    n_shard integer[],
    n_namespace uuid[],
    n_tree uuid[],
    n_branch uuid[],
    n_node bigint[],
    n_txn bigint[],
    n_prev_txn bigint[],
    n_data bytea[],
    t_shard integer[],        -- the rows of new branches in the tree
    t_namespace uuid[],
    t_tree uuid[],
    t_branch uuid[],
    t_data bytea[]
)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(n_namespace || t_namespace, ','), ''), true);
    IF cardinality(t_shard) > 0 THEN
        INSERT INTO strongroom.history_tree (shard_id, namespace_id, tree_id, branch_id, data)
        SELECT t.shard_id, t.namespace_id, t.tree_id, t.branch_id, t.data
        FROM unnest(t_shard, t_namespace, t_tree, t_branch, t_data) AS t (shard_id, namespace_id, tree_id, branch_id, data)
        /* confined: WHERE t.shard_id = p_shard */
        ON CONFLICT (shard_id, namespace_id, tree_id, branch_id) DO NOTHING; -- a row that exists may have the tree's list of branches
    END IF;
    INSERT INTO strongroom.history_node (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
    SELECT n.shard_id, n.namespace_id, n.tree_id, n.branch_id, n.node_id, n.txn_id, n.prev_txn_id, n.data
    FROM unnest(n_shard, n_namespace, n_tree, n_branch, n_node, n_txn, n_prev_txn, n_data)
         AS n (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
    /* confined: WHERE n.shard_id = p_shard */
    ON CONFLICT (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id)
    DO UPDATE SET prev_txn_id = excluded.prev_txn_id, data = excluded.data;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
