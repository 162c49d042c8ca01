-- Delete a branch's row and ranges of nodes if the tree still has the branches that the caller read. Return the digest of what the entry
-- of the journal replaced; empty for nothing. If the tree has changed, delete nothing and return NULL. All rows of the tree are locked
-- before they are compared, so that no branch is forked or deleted in between.
CREATE FUNCTION delete_history_branch(
    p_shard integer,
    p_namespace uuid,
    p_tree uuid,
    p_branch uuid,
    p_known uuid[],           -- the branches of the tree, in order
    d_branch uuid[],          -- the branches whose nodes are deleted, from d_node on
    d_node bigint[],
    p_holder uuid,            -- the branch whose row gets the new list of branches; NULL for none
    p_holder_data bytea,
    j_writer uuid,            -- an entry of the journal, which is inserted unless NULL is returned
    j_number bigint,
    j_data bytea
)
RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    unchanged boolean;
    old_branch bytea;         -- images of the deleted rows (kms/FORMAT.md section 7.7), each after its length
    old_holder bytea;
    old_nodes bytea;
    old bytea;                -- all of them
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
        WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree AND t.branch_id = p_branch
        RETURNING '\x004104'::bytea || uuid_send(t.namespace_id) || uuid_send(t.tree_id) || uuid_send(t.branch_id)
                  || substr(t.data, octet_length(t.data) - 15) INTO old_branch;
        UPDATE strongroom.history_tree AS t SET data = p_holder_data
        FROM (
            SELECT h.data FROM strongroom.history_tree AS h
            WHERE h.shard_id = p_shard AND h.namespace_id = p_namespace AND h.tree_id = p_tree AND h.branch_id = p_holder
        ) AS o
        WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree AND t.branch_id = p_holder
        RETURNING '\x004104'::bytea || uuid_send(t.namespace_id) || uuid_send(t.tree_id) || uuid_send(t.branch_id)
                  || substr(o.data, octet_length(o.data) - 15) INTO old_holder;
        WITH deleted AS (
            DELETE FROM strongroom.history_node AS n USING unnest(d_branch, d_node) AS d (branch_id, node_id)
            WHERE n.shard_id = p_shard AND n.namespace_id = p_namespace AND n.tree_id = p_tree
              AND n.branch_id = d.branch_id AND n.node_id >= d.node_id
            RETURNING '\x005105'::bytea || uuid_send(n.namespace_id) || uuid_send(n.tree_id) || uuid_send(n.branch_id)
                      || int8send(n.node_id) || int8send(n.txn_id) || substr(n.data, octet_length(n.data) - 15) AS image
        )
        SELECT string_agg(d.image, '') INTO old_nodes FROM deleted AS d;
        old := coalesce(old_branch, '') || coalesce(old_holder, '') || coalesce(old_nodes, '');
        INSERT INTO strongroom.journal (shard_id, writer, number, data, replaced)
        VALUES (p_shard, j_writer, j_number, j_data, old);
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
    RETURN CASE WHEN unchanged THEN coalesce(sha256(nullif(old, '')), '') END;
END
$$;
