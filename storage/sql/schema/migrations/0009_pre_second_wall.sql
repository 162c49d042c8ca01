-- Row-level security on each table that says whose its rows are: a session sees and writes those of the namespaces that it was told of.
-- An owner of the tables is not bound by it, so a service that connects as one works as before. DESIGN.md, "The second wall".
DO $$
DECLARE
    -- Each sub-select is evaluated once a statement; the first is for the most frequent case, of one namespace, and compares cheaply.
    -- Not set, or empty: nothing is seen.
    seen CONSTANT text := $policy$
        namespace_id = (SELECT CASE length(current_setting('strongroom.namespaces', true))
                               WHEN 36 THEN current_setting('strongroom.namespaces', true)::uuid END)
        OR (SELECT current_setting('strongroom.namespaces', true) = '*')
        OR namespace_id = ANY ((SELECT string_to_array(nullif(current_setting('strongroom.namespaces', true), '*'), ',')::uuid[])::uuid[])
    $policy$;
    walled text;
BEGIN
    FOREACH walled IN ARRAY ARRAY[
        'data_keys', 'namespaces', 'shreddings', 'shredded_keks', 'erasure_certificates',
        'history_node', 'history_tree', 'executions', 'execution_maps', 'current_executions', 'history_tasks', 'replication_dlq_tasks',
        'task_queues', 'tasks', 'task_queue_user_data', 'build_id_to_task_queue', 'queue_messages', 'queue_v2_messages',
        'visibility_records', 'visibility_outbox', 'visibility_deletes'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', walled);
        EXECUTE format('CREATE POLICY namespaces ON %I USING (%s)', walled, seen);
    END LOOP;
END
$$;

-- What is searched by tokens, for a session that sees one namespace: PostgreSQL does not look into an index of arrays before it has
-- applied a policy, as their operators are not leakproof. A view's condition is the same wall without that order, and being an equation
-- with what the statement asks for it is checked once.
CREATE VIEW visibility_search AS
SELECT * FROM visibility_records WHERE namespace_id = (SELECT nullif(current_setting('strongroom.namespaces', true), '')::uuid);
