-- Return history nodes for each of several requests: one row of arrays for each request, in order. The arrays are NULL if there is no
-- node. Reads in the order of the index, so nothing is sorted. WITH TIES: an answer has every write of each of its nodes.
CREATE FUNCTION get_history_nodes(
    p_shard integer,          -- on a Citus cluster the shard of all requests; not used elsewhere
    q_shard integer[],
    q_namespace uuid[],
    q_tree uuid[],
    q_branch uuid[],
    q_begin bigint[],         -- the nodes from q_begin, inclusive, to q_end, exclusive
    q_end bigint[],
    q_limit integer[],
    q_reverse boolean[],
    q_done_node bigint[],     -- a node of which the caller has read some writes: forwards those from q_done_txn on, backwards those up
    q_done_txn bigint[]       -- to q_done_txn. They are left out
)
RETURNS TABLE (node_ids bigint[], txn_ids bigint[], prev_txn_ids bigint[], sealed bytea[]) LANGUAGE plpgsql STABLE AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(q_namespace, ','), ''), true);
    RETURN QUERY
    SELECT page.node_ids, page.txn_ids, page.prev_txn_ids, page.sealed
    FROM unnest(q_shard, q_namespace, q_tree, q_branch, q_begin, q_end, q_limit, q_reverse, q_done_node, q_done_txn)
         WITH ORDINALITY
         AS q (shard_id, namespace_id, tree_id, branch_id, begin_node, end_node, size, reverse, done_node, done_txn, number)
    CROSS JOIN LATERAL (
        SELECT array_agg(t.node_id) AS node_ids, array_agg(t.txn_id) AS txn_ids, array_agg(t.prev_txn_id) AS prev_txn_ids,
               array_agg(t.data) AS sealed
        FROM (
            (
                SELECT n.node_id, n.txn_id, n.prev_txn_id, n.data
                FROM strongroom.history_node AS n
                WHERE n.shard_id = q.shard_id AND n.namespace_id = q.namespace_id AND n.tree_id = q.tree_id
                  AND n.branch_id = q.branch_id AND n.node_id >= q.begin_node AND n.node_id < q.end_node AND NOT q.reverse
                  AND (n.node_id <> q.done_node OR n.txn_id < q.done_txn)
                  /* confined: AND n.shard_id = p_shard */
                ORDER BY n.node_id FETCH FIRST (q.size) ROWS WITH TIES
            ) UNION ALL (
                SELECT n.node_id, n.txn_id, n.prev_txn_id, n.data
                FROM strongroom.history_node AS n
                WHERE n.shard_id = q.shard_id AND n.namespace_id = q.namespace_id AND n.tree_id = q.tree_id
                  AND n.branch_id = q.branch_id AND n.node_id >= q.begin_node AND n.node_id < q.end_node AND q.reverse
                  AND (n.node_id <> q.done_node OR n.txn_id > q.done_txn)
                  /* confined: AND n.shard_id = p_shard */
                ORDER BY n.node_id DESC FETCH FIRST (q.size) ROWS WITH TIES
            )
        ) AS t
    ) AS page
    ORDER BY q.number;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
