-- Create, update, reset and replace the mutable state of several runs: lock, check, write. A request that fails a check is returned with
-- the reason and has no effect; the others are written. Other groups of arrays name a request (m_run: a run) by its number, from 1.
-- `storage/executions/binding.py` declares the same columns, rules and reasons.
--
-- reason 0: not refused, and `data` has the MACs of the current run that rule 4 passed, which only the caller can check; 1: the shard has
-- another range_id; 2: the current run is not what the rule expects; 3: the run is at another version, or exists already; 4: the run
-- does not exist; 5: a clear column does not fit its MAC; 6: the run or the current run is the expected one, and its sealed row is not the
-- known one. reason 7 is of no request. Its `data` has the digests of what the entries of the journal replaced: for each entry that replaced rows its
-- request in 4 bytes and the digest in 32 bytes.
CREATE FUNCTION write_executions(
    p_shard integer,          -- on a Citus cluster the shard of all requests; not used elsewhere
    p_outbox boolean,         -- whether visibility records are noted in the outbox, for a search index outside the database
    p_writer uuid,            -- this process in the journal
    r_shard integer[],        -- requests, in ascending order of their workflows, so that two statements lock in the same order
    r_range bigint[],
    r_macs bytea,             -- 16 bytes for each request: the MAC of r_range
    r_namespace uuid[],
    r_workflow bytea[],
    c_request integer[],      -- what is expected of current runs, and what they become
    c_rule smallint[],        -- 1 none or expected, 2 expected and completed at version, 3 expected, 4 not expected; 4 writes nothing
    c_archetype bigint[],
    c_expected uuid[],
    c_expected_version bigint[],
    c_run uuid[],             -- NULL: the row is checked, and not written
    c_state smallint[],
    c_version bigint[],
    c_macs bytea,             -- 96 bytes for each: of c_expected in another state than COMPLETED, and in it; of its version; of the new row; the known row's tag
    c_data bytea[],
    x_request integer[],      -- runs
    x_rule smallint[],        -- 1 insert, 2 update, 3 update with all maps emptied first
    x_run uuid[],
    x_condition bigint[],
    x_next_event bigint[],
    x_version bigint[],
    x_record_version bigint[],
    x_macs bytea,             -- 80 bytes for each: of the expected record version or x_condition; of the new columns; the known row's tag
    x_data bytea[],
    m_run integer[],          -- entries of maps; no data: delete; no item: delete the whole map
    m_map smallint[],
    m_item bytea[],
    m_data bytea[],
    t_request integer[],      -- history tasks
    t_category smallint[],
    t_fire_time bigint[],
    t_task bigint[],
    t_data bytea[],
    n_request integer[],      -- history nodes
    n_tree uuid[],
    n_branch uuid[],
    n_node bigint[],
    n_txn bigint[],
    n_prev_txn bigint[],
    n_data bytea[],
    h_request integer[],      -- rows of history trees
    h_tree uuid[],
    h_branch uuid[],
    h_data bytea[],
    v_request integer[],      -- visibility records
    v_id bytea[],
    v_version bigint[],
    v_epoch integer[],
    v_close_bucket bigint[],
    v_start_bucket bigint[],
    v_tokens text[],
    v_sealed bytea[],
    v_h_workflow bigint[],
    v_h_run bigint[],
    v_h_type bigint[],
    v_h_status bigint[],
    v_h_queue bigint[],
    v_h_division bigint[],
    j_request integer[],      -- entries of the journal, one for each request
    j_number bigint[],
    j_entry bytea[]
)
RETURNS TABLE (
    request integer,
    reason smallint,
    run_id uuid,
    state smallint,
    last_write_version bigint,
    data bytea,
    next_event_id bigint,
    db_record_version bigint,
    run_version bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    callers CONSTANT text := coalesce(current_setting('strongroom.namespaces', true), ''); -- restored at the end
    refused integer[] := '{}';
    failing integer[];
    forged integer[];         -- requests whose row has a clear column that does not fit its MAC
    stale integer[];          -- requests whose row fits, but is not the known one
    unknown CONSTANT bytea := '\xffffffffffffffffffffffffffffffff'; -- stands for the tag of a current run that the caller does not know
    old_request integer[];    -- images of the rows that are replaced (kms/FORMAT.md section 7.7), each after its length
    old_image bytea[];
    digests bytea;
    written integer;
    unwritten integer;
    overwritten integer;
    seen_request integer[];   -- the visibility records before the write: request, id and image
    seen_id bytea[];
    seen_image bytea[];
    raced boolean;
    one integer;
BEGIN
    PERFORM set_config('strongroom.namespaces', left(current_query(), 20) || coalesce(array_to_string(r_namespace, ','), ''), true);
    -- An update of the shard's range_id waits for this lock. After it, requests with the older range_id are refused here.
    SELECT array_agg(r.number), array_agg(r.number) FILTER (WHERE (s.range_id = r.range_id) IS DISTINCT FROM (s.range_mac = substr(r_macs, r.number::integer * 16 - 15, 16)))
    INTO failing, forged
    FROM unnest(r_shard, r_range) WITH ORDINALITY AS r (shard_id, range_id, number)
    LEFT JOIN LATERAL (
        SELECT s.range_id, s.range_mac FROM strongroom.shards s
        WHERE s.shard_id = r.shard_id /* confined: AND s.shard_id = p_shard */
        FOR SHARE
    ) s ON true
    WHERE s.range_id IS DISTINCT FROM r.range_id OR s.range_mac IS DISTINCT FROM substr(r_macs, r.number::integer * 16 - 15, 16);
    IF failing IS NOT NULL THEN
        refused := failing;
        FOREACH one IN ARRAY failing LOOP
            request := one; reason := CASE WHEN one = ANY (forged) THEN 5 ELSE 1 END; RETURN NEXT;
        END LOOP;
    END IF;

    IF cardinality(c_request) > 0 THEN
        -- Bit 1 of a verdict: the clear columns fit the rule. Bit 2: their MACs do. Bit 3: the sealed row is not the known one. The caller
        -- takes a known row out of the sums itself, and needs the image of any other one.
        SELECT array_agg(k.request) FILTER (WHERE k.verdict <> 3), array_agg(k.request) FILTER (WHERE k.verdict & 3 IN (1, 2)),
               array_agg(k.request) FILTER (WHERE k.verdict = 7),
               array_agg(k.request) FILTER (WHERE k.image IS NOT NULL), array_agg(k.image) FILTER (WHERE k.image IS NOT NULL)
        INTO failing, forged, stale, old_request, old_image
        FROM (
            SELECT c.request,
                   CASE WHEN c.rule <> 4 AND c.known = unknown THEN '\x003902'::bytea || uuid_send(r_namespace[c.request]) || r_workflow[c.request]
                        || int8send(c.archetype_id) || e.tag END AS image,
                   coalesce(CASE c.rule
                WHEN 1 THEN CASE WHEN e.run_id IS NULL THEN 3
                    ELSE (e.run_id = c.expected)::integer + 2 * (substr(e.macs, 1, 16) IN (c.open_mac, c.completed_mac))::integer END
                WHEN 2 THEN ((e.run_id = c.expected AND e.state = 3)::integer + 2 * (substr(e.macs, 1, 16) = c.completed_mac)::integer)
                    & coalesce((
                        SELECT (x.last_write_version = c.expected_version)::integer + 2 * (substr(x.macs, 33) = c.version_mac)::integer
                        FROM strongroom.executions x
                        WHERE x.shard_id = r_shard[c.request] AND x.namespace_id = r_namespace[c.request]
                          AND x.workflow_id = r_workflow[c.request] AND x.run_id = e.run_id
                          /* confined: AND x.shard_id = p_shard */
                        FOR SHARE -- locked, so that the newest version is read after a wait
                    ), (e.last_write_version = c.expected_version)::integer + 2 * (substr(e.macs, 17) = c.version_mac)::integer)
                WHEN 3 THEN (e.run_id = c.expected)::integer + 2 * (substr(e.macs, 1, 16) IN (c.open_mac, c.completed_mac))::integer
                ELSE (e.run_id IS DISTINCT FROM c.expected)::integer
                    + 2 * ((substr(e.macs, 1, 16) IN (c.open_mac, c.completed_mac)) IS NOT TRUE)::integer
            END, 0) + CASE WHEN c.known IN (unknown, e.tag) THEN 0 ELSE 4 END AS verdict
            FROM (
                SELECT u.request, u.rule, u.archetype_id, u.expected, u.expected_version,
                       substr(c_macs, u.number::integer * 96 - 95, 16) AS open_mac,
                       substr(c_macs, u.number::integer * 96 - 79, 16) AS completed_mac,
                       substr(c_macs, u.number::integer * 96 - 63, 16) AS version_mac,
                       substr(c_macs, u.number::integer * 96 - 15, 16) AS known
                FROM unnest(c_request, c_rule, c_archetype, c_expected, c_expected_version)
                     WITH ORDINALITY AS u (request, rule, archetype_id, expected, expected_version, number)
            ) AS c
            LEFT JOIN LATERAL (
                SELECT e.run_id, e.state, e.last_write_version, e.macs, substr(e.data, octet_length(e.data) - 15) AS tag
                FROM strongroom.current_executions e
                WHERE e.shard_id = r_shard[c.request] AND e.namespace_id = r_namespace[c.request]
                  AND e.workflow_id = r_workflow[c.request] AND e.archetype_id = c.archetype_id
                  /* confined: AND e.shard_id = p_shard */
                FOR UPDATE
            ) e ON true
            WHERE c.request <> ALL (refused)
            OFFSET 0 -- so that a verdict is computed once
        ) AS k;
        IF failing IS NOT NULL THEN
            refused := refused || failing;
            RETURN QUERY
            SELECT c.request, CASE WHEN c.request = ANY (forged) THEN 5 WHEN c.request = ANY (stale) THEN 6 ELSE 2 END::smallint, e.run_id, e.state, e.last_write_version, e.data, NULL::bigint, NULL::bigint,
                   coalesce(x.last_write_version, e.last_write_version)
            FROM unnest(c_request, c_archetype) AS c (request, archetype_id)
            LEFT JOIN strongroom.current_executions e
                ON e.shard_id = r_shard[c.request] AND e.namespace_id = r_namespace[c.request]
               AND e.workflow_id = r_workflow[c.request] AND e.archetype_id = c.archetype_id
               /* confined: AND e.shard_id = p_shard */
            LEFT JOIN strongroom.executions x
                ON x.shard_id = e.shard_id AND x.namespace_id = e.namespace_id AND x.workflow_id = e.workflow_id AND x.run_id = e.run_id
               /* confined: AND x.shard_id = p_shard */
            WHERE c.request = ANY (failing);
        END IF;
    END IF;

    -- The bits are as above.
    SELECT array_agg(DISTINCT k.request) FILTER (WHERE k.verdict <> 3), array_agg(k.request) FILTER (WHERE k.verdict & 3 IN (1, 2)),
           array_agg(k.request) FILTER (WHERE k.verdict = 7)
    INTO failing, forged, stale
    FROM (
        SELECT x.request, coalesce(CASE
            WHEN x.rule = 1 THEN 3 * (e.db_record_version IS NULL)::integer
            WHEN x.record_version = 0 THEN (e.next_event_id = x.condition)::integer
                + 2 * (substr(e.macs, 17, 16) = substr(x_macs, x.number::integer * 80 - 79, 16))::integer
            ELSE (e.db_record_version = x.record_version - 1)::integer
                + 2 * (substr(e.macs, 1, 16) = substr(x_macs, x.number::integer * 80 - 79, 16))::integer
        END, 0) + CASE WHEN x.rule = 1 OR e.tag = substr(x_macs, x.number::integer * 80 - 15, 16)
            THEN 0 ELSE 4 END AS verdict
        FROM unnest(x_request, x_rule, x_run, x_condition, x_record_version)
             WITH ORDINALITY AS x (request, rule, run_id, condition, record_version, number)
        LEFT JOIN LATERAL (
            SELECT e.next_event_id, e.db_record_version, e.macs, substr(e.data, octet_length(e.data) - 15) AS tag
            FROM strongroom.executions e
            WHERE e.shard_id = r_shard[x.request] AND e.namespace_id = r_namespace[x.request]
              AND e.workflow_id = r_workflow[x.request] AND e.run_id = x.run_id
              /* confined: AND e.shard_id = p_shard */
            FOR UPDATE
        ) e ON true
        WHERE x.request <> ALL (refused)
        OFFSET 0
    ) AS k;
    IF failing IS NOT NULL THEN
        refused := refused || failing;
        RETURN QUERY
        SELECT DISTINCT ON (x.request)
            x.request, CASE WHEN x.request = ANY (forged) THEN 5 WHEN x.request = ANY (stale) THEN 6
                WHEN e.db_record_version IS NULL THEN 4 ELSE 3 END::smallint, x.run_id,
            NULL::smallint, NULL::bigint, NULL::bytea, e.next_event_id, e.db_record_version, NULL::bigint
        FROM unnest(x_request, x_rule, x_run, x_condition, x_record_version) AS x (request, rule, run_id, condition, record_version)
        LEFT JOIN strongroom.executions e
            ON e.shard_id = r_shard[x.request] AND e.namespace_id = r_namespace[x.request]
           AND e.workflow_id = r_workflow[x.request] AND e.run_id = x.run_id
           /* confined: AND e.shard_id = p_shard */
        WHERE x.request = ANY (failing)
        -- The run that does not fit comes first. If it fits now, because another transaction wrote it meanwhile, the request is refused too.
        ORDER BY x.request, coalesce(
            CASE
                WHEN x.rule = 1 THEN e.db_record_version IS NULL
                WHEN x.record_version = 0 THEN e.next_event_id = x.condition
                ELSE e.db_record_version = x.record_version - 1
            END, false);
    END IF;
    IF cardinality(refused) >= cardinality(r_shard) THEN
        PERFORM set_config('strongroom.namespaces', callers, true);
        RETURN;
    END IF;
    IF 4 = ANY (c_rule) THEN
        RETURN QUERY
        SELECT c.request, 0::smallint, e.run_id, e.state, e.last_write_version, e.macs, NULL::bigint, NULL::bigint, NULL::bigint
        FROM unnest(c_request, c_rule, c_archetype) AS c (request, rule, archetype_id)
        JOIN strongroom.current_executions e
            ON e.shard_id = r_shard[c.request] AND e.namespace_id = r_namespace[c.request]
           AND e.workflow_id = r_workflow[c.request] AND e.archetype_id = c.archetype_id
           /* confined: AND e.shard_id = p_shard */
        WHERE c.rule = 4 AND c.request <> ALL (refused);
    END IF;

    IF cardinality(array_remove(c_run, NULL)) > 0 THEN
        UPDATE strongroom.current_executions e
        SET run_id = c.run_id, state = c.state, last_write_version = c.last_write_version,
            macs = substr(c_macs, c.number::integer * 96 - 47, 32), data = c.data
        FROM unnest(c_request, c_rule, c_archetype, c_expected, c_run, c_state, c_version, c_data)
             WITH ORDINALITY AS c (request, rule, archetype_id, expected, run_id, state, last_write_version, data, number)
        WHERE c.run_id IS NOT NULL AND c.request <> ALL (refused)
          AND e.shard_id = r_shard[c.request] AND e.namespace_id = r_namespace[c.request]
          AND e.workflow_id = r_workflow[c.request] AND e.archetype_id = c.archetype_id AND e.run_id = c.expected
          /* confined: AND e.shard_id = p_shard */;
        -- If another transaction inserted the same row since the check, the whole statement fails and is run again.
        IF 1 = ANY (c_rule) THEN
            INSERT INTO strongroom.current_executions
                (shard_id, namespace_id, workflow_id, archetype_id, run_id, state, last_write_version, macs, data)
            SELECT r_shard[c.request], r_namespace[c.request], r_workflow[c.request], c.archetype_id,
                   c.run_id, c.state, c.last_write_version, substr(c_macs, c.number::integer * 96 - 47, 32), c.data
            FROM unnest(c_request, c_rule, c_archetype, c_expected, c_run, c_state, c_version, c_data)
                 WITH ORDINALITY AS c (request, rule, archetype_id, expected, run_id, state, last_write_version, data, number)
            WHERE c.rule = 1 AND c.request <> ALL (refused)
              AND (c.expected IS NULL OR NOT EXISTS (
                  SELECT FROM strongroom.current_executions e
                  WHERE e.shard_id = r_shard[c.request] AND e.namespace_id = r_namespace[c.request]
                    AND e.workflow_id = r_workflow[c.request] AND e.archetype_id = c.archetype_id
                    /* confined: AND e.shard_id = p_shard */))
              /* confined: AND r_shard[c.request] = p_shard */;
        END IF;
    END IF;

    UPDATE strongroom.executions e
    SET next_event_id = x.next_event_id, last_write_version = x.last_write_version, db_record_version = x.record_version,
        macs = substr(x_macs, x.number::integer * 80 - 63, 48), data = x.data
    FROM unnest(x_request, x_rule, x_run, x_next_event, x_version, x_record_version, x_data)
         WITH ORDINALITY AS x (request, rule, run_id, next_event_id, last_write_version, record_version, data, number)
    WHERE x.rule <> 1 AND x.request <> ALL (refused)
      AND e.shard_id = r_shard[x.request] AND e.namespace_id = r_namespace[x.request]
      AND e.workflow_id = r_workflow[x.request] AND e.run_id = x.run_id
      /* confined: AND e.shard_id = p_shard */;
    IF 1 = ANY (x_rule) THEN
        INSERT INTO strongroom.executions
            (shard_id, namespace_id, workflow_id, run_id, next_event_id, last_write_version, db_record_version, macs, data)
        SELECT r_shard[x.request], r_namespace[x.request], r_workflow[x.request], x.run_id,
               x.next_event_id, x.last_write_version, x.record_version, substr(x_macs, x.number::integer * 80 - 63, 48), x.data
        FROM unnest(x_request, x_rule, x_run, x_next_event, x_version, x_record_version, x_data)
             WITH ORDINALITY AS x (request, rule, run_id, next_event_id, last_write_version, record_version, data, number)
        WHERE x.rule = 1 AND x.request <> ALL (refused)
          /* confined: AND r_shard[x.request] = p_shard */;
    END IF;

    IF 3 = ANY (x_rule) THEN
        DELETE FROM strongroom.execution_maps e
        USING unnest(x_request, x_rule, x_run) AS x (request, rule, run_id)
        WHERE x.rule = 3 AND x.request <> ALL (refused)
          AND e.shard_id = r_shard[x.request] AND e.namespace_id = r_namespace[x.request]
          AND e.workflow_id = r_workflow[x.request] AND e.run_id = x.run_id
          /* confined: AND e.shard_id = p_shard */;
    END IF;
    IF cardinality(m_run) > 0 THEN
        IF array_position(m_item, NULL) IS NOT NULL THEN
            DELETE FROM strongroom.execution_maps e
            USING unnest(m_run, m_map, m_item) AS m (run, map, item)
            WHERE m.item IS NULL AND x_request[m.run] <> ALL (refused)
              AND e.shard_id = r_shard[x_request[m.run]] AND e.namespace_id = r_namespace[x_request[m.run]]
              AND e.workflow_id = r_workflow[x_request[m.run]] AND e.run_id = x_run[m.run] AND e.map = m.map
              /* confined: AND e.shard_id = p_shard */;
        END IF;
        INSERT INTO strongroom.execution_maps (shard_id, namespace_id, workflow_id, run_id, map, item, data)
        SELECT r_shard[x_request[m.run]], r_namespace[x_request[m.run]], r_workflow[x_request[m.run]], x_run[m.run],
               m.map, m.item, m.data
        FROM unnest(m_run, m_map, m_item, m_data) AS m (run, map, item, data)
        WHERE m.data IS NOT NULL AND x_request[m.run] <> ALL (refused)
          /* confined: AND r_shard[x_request[m.run]] = p_shard */
        ON CONFLICT (shard_id, namespace_id, workflow_id, run_id, map, item) DO UPDATE SET data = excluded.data;
        -- An entry that a request both writes and deletes is deleted, as in Temporal.
        IF array_position(m_data, NULL) IS NOT NULL THEN
            DELETE FROM strongroom.execution_maps e
            USING unnest(m_run, m_map, m_item, m_data) AS m (run, map, item, data)
            WHERE m.data IS NULL AND m.item IS NOT NULL AND x_request[m.run] <> ALL (refused)
              AND e.shard_id = r_shard[x_request[m.run]] AND e.namespace_id = r_namespace[x_request[m.run]]
              AND e.workflow_id = r_workflow[x_request[m.run]] AND e.run_id = x_run[m.run] AND e.map = m.map AND e.item = m.item
              /* confined: AND e.shard_id = p_shard */;
        END IF;
    END IF;

    IF cardinality(t_request) > 0 THEN
        INSERT INTO strongroom.history_tasks (shard_id, category_id, fire_time, task_id, namespace_id, data)
        SELECT r_shard[t.request], t.category_id, t.fire_time, t.task_id, r_namespace[t.request], t.data
        FROM unnest(t_request, t_category, t_fire_time, t_task, t_data) AS t (request, category_id, fire_time, task_id, data)
        WHERE t.request <> ALL (refused)
          /* confined: AND r_shard[t.request] = p_shard */;
    END IF;
    IF cardinality(h_request) > 0 THEN
        INSERT INTO strongroom.history_tree (shard_id, namespace_id, tree_id, branch_id, data)
        SELECT r_shard[h.request], r_namespace[h.request], h.tree_id, h.branch_id, h.data
        FROM unnest(h_request, h_tree, h_branch, h_data) AS h (request, tree_id, branch_id, data)
        WHERE h.request <> ALL (refused)
          /* confined: AND r_shard[h.request] = p_shard */
        ON CONFLICT DO NOTHING; -- a row that exists may have the tree's list of branches
        GET DIAGNOSTICS written = ROW_COUNT;
        -- Citus counts the rows that were there already too. No two sealed values are equal, so a row with this value was written here.
        /* confined: written := (
            SELECT count(*) FROM unnest(h_request, h_tree, h_branch, h_data) AS h (request, tree_id, branch_id, data)
            JOIN strongroom.history_tree AS s
              ON s.namespace_id = r_namespace[h.request] AND s.tree_id = h.tree_id AND s.branch_id = h.branch_id AND s.data = h.data
            WHERE h.request <> ALL (refused) AND s.shard_id = p_shard); */
        IF written < (SELECT count(*) FROM unnest(h_request) AS h (request) WHERE h.request <> ALL (refused)) THEN
            -- The image of a row that was not written counts as replaced. Each sealed value differs.
            SELECT old_request || array_agg(h.request), old_image || array_agg('\x004104'::bytea || uuid_send(r_namespace[h.request])
                || uuid_send(h.tree_id) || uuid_send(h.branch_id) || substr(h.data, octet_length(h.data) - 15))
            INTO old_request, old_image
            FROM unnest(h_request, h_tree, h_branch, h_data) AS h (request, tree_id, branch_id, data)
            LEFT JOIN strongroom.history_tree AS s
              ON s.shard_id = r_shard[h.request] AND s.namespace_id = r_namespace[h.request] AND s.tree_id = h.tree_id
             AND s.branch_id = h.branch_id
             /* confined: AND s.shard_id = p_shard */
            WHERE h.request <> ALL (refused) AND s.data IS DISTINCT FROM h.data;
        END IF;
    END IF;
    IF cardinality(n_request) > 0 THEN
        INSERT INTO strongroom.history_node (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
        SELECT r_shard[n.request], r_namespace[n.request], n.tree_id, n.branch_id, n.node_id, n.txn_id, n.prev_txn_id, n.data
        FROM unnest(n_request, n_tree, n_branch, n_node, n_txn, n_prev_txn, n_data)
             AS n (request, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
        WHERE n.request <> ALL (refused)
          /* confined: AND r_shard[n.request] = p_shard */
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS written = ROW_COUNT;
        /* confined: written := (
            SELECT count(*) FROM unnest(n_request, n_tree, n_branch, n_node, n_txn, n_data) AS n (request, tree_id, branch_id, node_id, txn_id, data)
            JOIN strongroom.history_node AS s
              ON s.namespace_id = r_namespace[n.request] AND s.tree_id = n.tree_id AND s.branch_id = n.branch_id AND s.node_id = n.node_id
             AND s.txn_id = n.txn_id AND s.data = n.data
            WHERE n.request <> ALL (refused) AND s.shard_id = p_shard); */
        unwritten := cardinality(n_request) - written;
        IF unwritten > 0 AND cardinality(refused) > 0 THEN
            unwritten := (SELECT count(*) FROM unnest(n_request) AS n (request) WHERE n.request <> ALL (refused)) - written;
        END IF;
        IF unwritten > 0 THEN
            WITH old AS MATERIALIZED (
                SELECT n.request, s.shard_id, s.namespace_id, s.tree_id, s.branch_id, s.node_id, s.txn_id, n.prev_txn_id AS new_prev,
                       n.data AS new, substr(s.data, octet_length(s.data) - 15) AS tag
                FROM unnest(n_request, n_tree, n_branch, n_node, n_txn, n_prev_txn, n_data)
                     AS n (request, tree_id, branch_id, node_id, txn_id, prev_txn_id, data)
                JOIN strongroom.history_node AS s
                  ON s.shard_id = r_shard[n.request] AND s.namespace_id = r_namespace[n.request] AND s.tree_id = n.tree_id
                 AND s.branch_id = n.branch_id AND s.node_id = n.node_id AND s.txn_id = n.txn_id AND s.data <> n.data
                 /* confined: AND s.shard_id = p_shard */
                WHERE n.request <> ALL (refused)
                FOR UPDATE OF s
            ), updated AS (
                UPDATE strongroom.history_node AS s SET prev_txn_id = o.new_prev, data = o.new FROM old AS o
                WHERE s.shard_id = o.shard_id AND s.namespace_id = o.namespace_id AND s.tree_id = o.tree_id AND s.branch_id = o.branch_id
                  AND s.node_id = o.node_id AND s.txn_id = o.txn_id
                  /* confined: AND s.shard_id = p_shard */
                RETURNING o.request, '\x005105'::bytea || uuid_send(s.namespace_id) || uuid_send(s.tree_id) || uuid_send(s.branch_id)
                          || int8send(s.node_id) || int8send(s.txn_id) || o.tag AS image
            )
            SELECT old_request || array_agg(u.request), old_image || array_agg(u.image), count(*)
            INTO old_request, old_image, overwritten FROM updated AS u;
            IF overwritten <> unwritten THEN
                RAISE 'a history node was deleted at the same moment' USING ERRCODE = 'serialization_failure'; -- the request is sent again
            END IF;
        END IF;
    END IF;
    IF cardinality(v_request) > 0 THEN
        -- The journal needs the replaced records.
        SELECT array_agg(k.request), array_agg(k.id), array_agg(k.image) INTO seen_request, seen_id, seen_image
        FROM (
            SELECT v.request, v.id,
                   '\x004d06'::bytea || uuid_send(s.namespace_id) || s.id || int8send(s.version) || int4send(s.k) || int8send(s.b1)
                   || int8send(s.b2) || substr(s.s, octet_length(s.s) - 15) AS image
            FROM unnest(v_request, v_id) AS v (request, id)
            JOIN strongroom.visibility_records AS s
              ON s.shard_id = r_shard[v.request] AND s.namespace_id = r_namespace[v.request] AND s.id = v.id
              /* confined: AND s.shard_id = p_shard */
            WHERE v.request <> ALL (refused)
            FOR UPDATE OF s
        ) AS k;
        INSERT INTO strongroom.visibility_records AS stored (shard_id, namespace_id, id, version, k, b1, b2, t, s, h_workflow, h_run,
                                                  h_type, h_status, h_queue, h_division)
        SELECT r_shard[v.request], r_namespace[v.request], v.id, v.version, v.k, v.b1, v.b2, v.t::bigint[], v.s,
               v.h_workflow, v.h_run, v.h_type, v.h_status, v.h_queue, v.h_division
        FROM unnest(v_request, v_id, v_version, v_epoch, v_close_bucket, v_start_bucket, v_tokens, v_sealed, v_h_workflow, v_h_run, v_h_type, v_h_status, v_h_queue, v_h_division)
             AS v (request, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division)
        WHERE v.request <> ALL (refused)
          AND NOT EXISTS (
              SELECT FROM strongroom.visibility_deletes AS d
              WHERE d.shard_id = r_shard[v.request] AND d.namespace_id = r_namespace[v.request] AND d.id = v.id
                AND d.version >= v.version
                /* confined: AND d.shard_id = p_shard */
          )
          /* confined: AND r_shard[v.request] = p_shard */
        ON CONFLICT (shard_id, namespace_id, id)
        DO UPDATE SET version = excluded.version, k = excluded.k, b1 = excluded.b1, b2 = excluded.b2, t = excluded.t, s = excluded.s,
            h_workflow = excluded.h_workflow,
            h_run = excluded.h_run, h_type = excluded.h_type, h_status = excluded.h_status, h_queue = excluded.h_queue,
            h_division = excluded.h_division
        WHERE stored.version < excluded.version;
        -- The image of a record that was not written counts as replaced. A record that was replaced and not seen before is of another
        -- transaction that was committed meanwhile.
        SELECT old_request || array_agg(k.request) FILTER (WHERE k.image IS NOT NULL), old_image || array_agg(k.image) FILTER (WHERE k.image IS NOT NULL),
               coalesce(bool_or(k.is_unknown), false)
        INTO old_request, old_image, raced
        FROM (
            SELECT v.request, s.s = v.s AND s.xmax <> 0 AND o.image IS NULL AS is_unknown, CASE
                WHEN s.s = v.s THEN o.image
                ELSE '\x004d06'::bytea || uuid_send(r_namespace[v.request]) || v.id || int8send(v.version) || int4send(v.k)
                    || int8send(v.b1) || int8send(v.b2) || substr(v.s, octet_length(v.s) - 15)
            END AS image
            FROM unnest(v_request, v_id, v_version, v_epoch, v_close_bucket, v_start_bucket, v_sealed) AS v (request, id, version, k, b1, b2, s)
            LEFT JOIN strongroom.visibility_records AS s
              ON s.shard_id = r_shard[v.request] AND s.namespace_id = r_namespace[v.request] AND s.id = v.id
              /* confined: AND s.shard_id = p_shard */
            LEFT JOIN unnest(seen_request, seen_id, seen_image) AS o (request, id, image) ON o.request = v.request AND o.id = v.id
            WHERE v.request <> ALL (refused)
        ) AS k;
        IF raced THEN
            RAISE 'another transaction wrote the first record of a run' USING ERRCODE = 'serialization_failure'; -- the request is sent again
        END IF;
        IF p_outbox THEN
            INSERT INTO strongroom.visibility_outbox (shard_id, namespace_id, id)
            SELECT DISTINCT r_shard[v.request], r_namespace[v.request], v.id
            FROM unnest(v_request, v_id) AS v (request, id)
            WHERE v.request <> ALL (refused)
              /* confined: AND r_shard[v.request] = p_shard */
            ORDER BY 1, 2, 3
            ON CONFLICT (shard_id, namespace_id, id) DO UPDATE SET stamp = excluded.stamp, retry_at = NULL;
        END IF;
    END IF;
    IF old_request IS NOT NULL THEN
        SELECT array_agg(o.request), array_agg(o.replaced), string_agg(int4send(o.request) || sha256(o.replaced), '')
        INTO old_request, old_image, digests
        FROM (
            SELECT k.request, string_agg(k.image, '') AS replaced FROM unnest(old_request, old_image) AS k (request, image)
            WHERE k.request <> ALL (refused)
            GROUP BY k.request
        ) AS o;
    END IF;
    INSERT INTO strongroom.journal (shard_id, writer, number, data, replaced)
    SELECT r_shard[j.request], p_writer, j.number, j.entry,
           CASE WHEN cardinality(old_request) > 0 THEN coalesce((
               SELECT o.replaced FROM unnest(old_request, old_image) AS o (request, replaced) WHERE o.request = j.request), '') ELSE '' END
    FROM unnest(j_request, j_number, j_entry) AS j (request, number, entry)
    WHERE j.request <> ALL (refused)
      /* confined: AND r_shard[j.request] = p_shard */;
    IF digests IS NOT NULL THEN
        reason := 7; data := digests; RETURN NEXT;
    END IF;
    PERFORM set_config('strongroom.namespaces', callers, true);
END
$$;
