-- name: present
SELECT tablename::text AS name FROM pg_policies WHERE schemaname = $1 AND policyname = 'namespaces'

-- name: enable
ALTER TABLE strongroom.{table} ENABLE ROW LEVEL SECURITY

-- name: create
-- A session sees and writes the rows of the namespaces in its setting `strongroom.namespaces`. The setting begins with the session's
-- mark, and so does the text of each statement of the session. If the first 20 characters of the two differ, the statement is in a
-- session that is not its own. It then raises an error, because the parameter that is read does not exist. Each sub-select is evaluated
-- once a statement, and the first one, which checks the mark, before the others. It is for a single namespace, the most frequent case,
-- and is the cheapest to compare.
CREATE POLICY namespaces ON strongroom.{table} USING (
    namespace_id = (SELECT CASE left(current_setting('strongroom.namespaces', true), 20)
        WHEN left(current_query(), 20) THEN
            CASE length(current_setting('strongroom.namespaces')) WHEN 56 THEN right(current_setting('strongroom.namespaces'), 36)::uuid END
        ELSE current_setting('strongroom.session_of_this_statement')::uuid END)
    OR (SELECT right(current_setting('strongroom.namespaces'), 1) = '*')
    OR namespace_id = ANY ((SELECT string_to_array(nullif(substr(current_setting('strongroom.namespaces'), 21), '*'), ',')::uuid[])::uuid[])
)

-- name: drop
DROP POLICY IF EXISTS namespaces ON strongroom.{table}

-- name: create_for_nodes
-- For a table that is distributed over a Citus cluster. Citus accepts no sub-select in a policy, and evaluates each function in one, whether or not
-- its result is needed. So no part of it may raise an error. The statement that reaches a node does not begin with the mark of its
-- session, so the mark is not compared. The setting reaches a node only with SET LOCAL, or is set by the function that runs there. So it is
-- never the setting of another transaction. Without a setting, a statement raises an error or finds no row.
CREATE POLICY namespaces ON strongroom.{table} USING (
    namespace_id = ANY (string_to_array(nullif(substr(current_setting('strongroom.namespaces'), 21), '*'), ',')::uuid[])
    OR right(current_setting('strongroom.namespaces'), 1) = '*'
)
