-- name: read_forwards
-- The same as the function `get_history_nodes` for one request, which costs half as much.
SELECT array_agg(node_id) AS node_ids, array_agg(txn_id) AS txn_ids, array_agg(prev_txn_id) AS prev_txn_ids,
       array_agg(data) AS sealed
FROM (
    SELECT node_id, txn_id, prev_txn_id, data FROM history_node
    WHERE shard_id = $1 AND namespace_id = $2 AND tree_id = $3 AND branch_id = $4 AND node_id >= $5 AND node_id < $6
      AND (node_id <> $8 OR txn_id < $9)
    ORDER BY node_id FETCH FIRST ($7) ROWS WITH TIES
) AS part

-- name: read_backwards
SELECT array_agg(node_id) AS node_ids, array_agg(txn_id) AS txn_ids, array_agg(prev_txn_id) AS prev_txn_ids,
       array_agg(data) AS sealed
FROM (
    SELECT node_id, txn_id, prev_txn_id, data FROM history_node
    WHERE shard_id = $1 AND namespace_id = $2 AND tree_id = $3 AND branch_id = $4 AND node_id >= $5 AND node_id < $6
      AND (node_id <> $8 OR txn_id > $9)
    ORDER BY node_id DESC FETCH FIRST ($7) ROWS WITH TIES
) AS part

-- name: newest_writes
-- The newest transaction up to $8 of several ranges, and of their nodes below $7. Reads the index only.
SELECT max(n.txn_id) AS newest, max(n.txn_id) FILTER (WHERE n.node_id < $7) AS below
FROM unnest($4::uuid[], $5::bigint[], $6::bigint[]) AS part (branch_id, begin_node, end_node)
JOIN history_node AS n ON n.branch_id = part.branch_id AND n.node_id >= part.begin_node AND n.node_id < part.end_node
WHERE n.shard_id = $1 AND n.namespace_id = $2 AND n.tree_id = $3 AND n.txn_id <= $8

-- name: get_tree
SELECT branch_id, data FROM history_tree WHERE shard_id = $1 AND namespace_id = $2 AND tree_id = $3 ORDER BY branch_id

-- name: get_branch
SELECT data FROM history_tree WHERE shard_id = $1 AND namespace_id = $2 AND tree_id = $3 AND branch_id = $4

-- name: namespaces_of_tree
SELECT DISTINCT namespace_id FROM history_tree WHERE shard_id = $1 AND tree_id = $2 LIMIT 2

-- name: list_trees
SELECT shard_id, namespace_id, tree_id, branch_id, data FROM history_tree
WHERE (shard_id, namespace_id, tree_id, branch_id) > ($1, $2, $3, $4)
ORDER BY shard_id, namespace_id, tree_id, branch_id LIMIT $5

-- name: delete_nodes
-- $7, $8 and $9: the entry of the journal. The images are those of kms/FORMAT.md section 7.7 after their length. Returns the number of
-- nodes by the length of their images; no row if there are none.
WITH deleted AS (
    DELETE FROM history_node AS n USING unnest($4::uuid[], $5::bigint[], $6::bigint[]) AS d (branch_id, node_id, txn_id)
    WHERE n.shard_id = $1 AND n.namespace_id = $2 AND n.tree_id = $3
      AND n.branch_id = d.branch_id AND n.node_id = d.node_id AND n.txn_id = d.txn_id
    RETURNING '\x005105'::bytea || uuid_send(n.namespace_id) || uuid_send(n.tree_id) || uuid_send(n.branch_id)
              || int8send(n.node_id) || int8send(n.txn_id) || substr(n.data, octet_length(n.data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT $1, $7, $8, $9, string_agg(image, '') FROM deleted HAVING count(*) > 0
RETURNING octet_length(replaced) / 83 AS nodes, sha256(replaced) AS digest
