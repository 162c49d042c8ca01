-- name: append_nodes
-- An equal key is overwritten in place, so a retry of the same append changes nothing.
INSERT INTO history_node (shard_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, namespace_id, data)
SELECT $1, $2, $3, n.node_id, n.txn_id, n.prev_txn_id, $4, n.data
FROM unnest($5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[]) AS n (node_id, txn_id, prev_txn_id, data)
ON CONFLICT (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id)
DO UPDATE SET prev_txn_id = excluded.prev_txn_id, data = excluded.data

-- name: read_nodes
-- The highest transaction of a node comes first: it shadows the others.
SELECT node_id, txn_id, prev_txn_id, data FROM history_node
WHERE shard_id = $1 AND namespace_id = $4 AND tree_id = $2 AND branch_id = $3
  AND node_id >= $5 AND node_id < $6
ORDER BY node_id, txn_id DESC LIMIT $7

-- name: put_tree
INSERT INTO history_tree (shard_id, tree_id, branch_id, namespace_id, data) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (shard_id, namespace_id, tree_id, branch_id) DO UPDATE SET data = excluded.data

-- name: get_tree
SELECT branch_id, data FROM history_tree WHERE shard_id = $1 AND namespace_id = $3 AND tree_id = $2 ORDER BY branch_id
