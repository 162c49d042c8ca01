-- Write the row of a new branch, and the new list of branches into the holder's row, if the tree still has the branches that the caller read.
-- Return the digest of what the entry of the journal replaced. If the tree has changed, write nothing and return NULL. All rows of the tree
-- are locked before they are compared, as in `delete_history_branch`.
CREATE FUNCTION fork_history_branch(
    p_shard integer,
    p_namespace uuid,
    p_tree uuid,
    p_known uuid[],           -- the branches of the tree, in order
    p_branch uuid,
    p_data bytea,
    p_holder uuid,
    p_holder_data bytea,
    j_writer uuid,            -- an entry of the journal, which is inserted unless NULL is returned
    j_number bigint,
    j_data bytea
)
RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    unchanged boolean;
    old_holder bytea;         -- the image of the replaced row (kms/FORMAT.md section 7.7) after its length
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
            FROM (
                SELECT h.data FROM strongroom.history_tree AS h
                WHERE h.shard_id = p_shard AND h.namespace_id = p_namespace AND h.tree_id = p_tree AND h.branch_id = p_holder
            ) AS o
            WHERE t.shard_id = p_shard AND t.namespace_id = p_namespace AND t.tree_id = p_tree AND t.branch_id = p_holder
            RETURNING '\x004104'::bytea || uuid_send(t.namespace_id) || uuid_send(t.tree_id) || uuid_send(t.branch_id)
                      || substr(o.data, octet_length(o.data) - 15) INTO old_holder;
            INSERT INTO strongroom.journal (shard_id, writer, number, data, replaced)
            VALUES (p_shard, j_writer, j_number, j_data, coalesce(old_holder, ''));
        END IF;
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
    RETURN CASE WHEN unchanged THEN coalesce(sha256(nullif(old_holder, '')), '') END;
END
$$;
