-- Append history nodes of several callers. A row with an equal key is overwritten, so that repeating an append changes nothing. The
-- journal needs the overwritten rows, which are read only if there are any. Every sealed value differs, so a row with another value is one.
-- Returns a row for each shard whose entry has replaced rows, with their digest.
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
    t_data bytea[],
    j_writer uuid,            -- entries of the journal, one for each shard
    j_shard integer[],
    j_number bigint[],
    j_data bytea[]
)
RETURNS TABLE (entry_shard integer, digest bytea) LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    written integer;
    some_shard integer[];
    some_image bytea[];
    old_shard integer[] := '{}'; -- the overwritten rows: their shards, and their images (kms/FORMAT.md section 7.7) after their lengths
    old_image bytea[] := '{}';
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(n_namespace || t_namespace, ','), ''), true);
    -- A node's policy reads the setting for each row, so each namespace is in it once. One server reads it once for a statement.
    /* confined: PERFORM set_config('strongroom.namespaces', (
        SELECT left(current_query(), 20) || coalesce(string_agg(DISTINCT w.namespace_id::text, ','), '')
        FROM unnest(n_namespace || t_namespace) AS w (namespace_id)), true); */
    IF cardinality(t_shard) > 0 THEN
        INSERT INTO strongroom.history_tree (shard_id, namespace_id, tree_id, branch_id, data)
        SELECT t.shard_id, t.namespace_id, t.tree_id, t.branch_id, t.data
        FROM unnest(t_shard, t_namespace, t_tree, t_branch, t_data) AS t (shard_id, namespace_id, tree_id, branch_id, data)
        /* confined: WHERE t.shard_id = p_shard */
        ON CONFLICT DO NOTHING; -- a row that exists may have the tree's list of branches
        GET DIAGNOSTICS written = ROW_COUNT;
        -- Citus counts the rows that were there already too. No two sealed values are equal, so a row with this value was written here.
        /* confined: written := (
            SELECT count(*) FROM unnest(t_shard, t_namespace, t_tree, t_branch, t_data) AS t (shard_id, namespace_id, tree_id, branch_id, data)
            JOIN strongroom.history_tree AS s
              ON s.namespace_id = t.namespace_id AND s.tree_id = t.tree_id AND s.branch_id = t.branch_id AND s.data = t.data
            WHERE s.shard_id = p_shard AND t.shard_id = p_shard); */
        IF written < cardinality(t_shard) THEN
            -- The image of a row that was not written counts as replaced.
            SELECT array_agg(t.shard_id), array_agg('\x004104'::bytea || uuid_send(t.namespace_id) || uuid_send(t.tree_id)
                || uuid_send(t.branch_id) || substr(t.data, octet_length(t.data) - 15))
            INTO old_shard, old_image
            FROM unnest(t_shard, t_namespace, t_tree, t_branch, t_data) AS t (shard_id, namespace_id, tree_id, branch_id, data)
            LEFT JOIN strongroom.history_tree AS s
              ON s.shard_id = t.shard_id AND s.namespace_id = t.namespace_id AND s.tree_id = t.tree_id AND s.branch_id = t.branch_id
              /* confined: AND s.shard_id = p_shard */
            WHERE s.data IS DISTINCT FROM t.data;
        END IF;
    END IF;
    INSERT INTO strongroom.history_node (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
    SELECT n.shard_id, n.namespace_id, n.tree_id, n.branch_id, n.node_id, n.txn_id, n.prev_txn_id, n.data
    FROM unnest(n_shard, n_namespace, n_tree, n_branch, n_node, n_txn, n_prev_txn, n_data)
         AS n (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
    /* confined: WHERE n.shard_id = p_shard */
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS written = ROW_COUNT;
    /* confined: written := (
        SELECT count(*) FROM unnest(n_shard, n_namespace, n_tree, n_branch, n_node, n_txn, n_data)
                             AS n (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, data)
        JOIN strongroom.history_node AS s
          ON s.namespace_id = n.namespace_id AND s.tree_id = n.tree_id AND s.branch_id = n.branch_id AND s.node_id = n.node_id
         AND s.txn_id = n.txn_id AND s.data = n.data
        WHERE s.shard_id = p_shard AND n.shard_id = p_shard); */
    IF written < cardinality(n_shard) THEN
        WITH old AS MATERIALIZED (
            SELECT s.shard_id, s.namespace_id, s.tree_id, s.branch_id, s.node_id, s.txn_id, n.prev_txn_id AS new_prev, n.data AS new,
                   substr(s.data, octet_length(s.data) - 15) AS tag
            FROM unnest(n_shard, n_namespace, n_tree, n_branch, n_node, n_txn, n_prev_txn, n_data)
                 AS n (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
            JOIN strongroom.history_node AS s
              ON s.shard_id = n.shard_id AND s.namespace_id = n.namespace_id AND s.tree_id = n.tree_id AND s.branch_id = n.branch_id
             AND s.node_id = n.node_id AND s.txn_id = n.txn_id AND s.data <> n.data
            /* confined: WHERE s.shard_id = p_shard */
            FOR UPDATE OF s
        ), updated AS (
            UPDATE strongroom.history_node AS s SET prev_txn_id = o.new_prev, data = o.new FROM old AS o
            WHERE s.shard_id = o.shard_id AND s.namespace_id = o.namespace_id AND s.tree_id = o.tree_id AND s.branch_id = o.branch_id
              AND s.node_id = o.node_id AND s.txn_id = o.txn_id
              /* confined: AND s.shard_id = p_shard */
            RETURNING s.shard_id, '\x005105'::bytea || uuid_send(s.namespace_id) || uuid_send(s.tree_id) || uuid_send(s.branch_id)
                      || int8send(s.node_id) || int8send(s.txn_id) || o.tag AS image
        )
        SELECT array_agg(u.shard_id), array_agg(u.image) INTO some_shard, some_image FROM updated AS u;
        IF coalesce(cardinality(some_shard), 0) <> cardinality(n_shard) - written THEN
            RAISE 'a history node was deleted at the same moment' USING ERRCODE = 'serialization_failure';
        END IF;
        old_shard := coalesce(old_shard, '{}') || some_shard;
        old_image := coalesce(old_image, '{}') || some_image;
    END IF;
    IF cardinality(old_shard) > 0 THEN
        SELECT array_agg(o.shard_id), array_agg(o.replaced) INTO old_shard, old_image
        FROM (
            SELECT k.shard_id, string_agg(k.image, '') AS replaced FROM unnest(old_shard, old_image) AS k (shard_id, image) GROUP BY k.shard_id
        ) AS o;
        RETURN QUERY SELECT o.shard_id, sha256(o.replaced) FROM unnest(old_shard, old_image) AS o (shard_id, replaced);
    END IF;
    INSERT INTO strongroom.journal (shard_id, writer, number, data, replaced)
    SELECT j.shard_id, j_writer, j.number, j.data,
           CASE WHEN cardinality(old_shard) > 0 THEN coalesce((
               SELECT o.replaced FROM unnest(old_shard, old_image) AS o (shard_id, replaced) WHERE o.shard_id = j.shard_id), '') ELSE '' END
    FROM unnest(j_shard, j_number, j_data) AS j (shard_id, number, data)
    /* confined: WHERE j.shard_id = p_shard */;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
