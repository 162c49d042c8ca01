-- name: present
SELECT tablename::text AS name FROM pg_policies WHERE schemaname = $1 AND policyname = 'namespaces'

-- name: enable
ALTER TABLE strongroom.{table} ENABLE ROW LEVEL SECURITY

-- name: create
-- A session sees and writes the rows of the namespaces in its setting `strongroom.namespaces`. If the setting is missing or empty, it
-- sees nothing. Each sub-select is evaluated once a statement. The first one is for a single namespace, the most frequent case, and is
-- the cheapest to compare.
CREATE POLICY namespaces ON strongroom.{table} USING (
    namespace_id = (SELECT CASE length(current_setting('strongroom.namespaces', true))
                           WHEN 36 THEN current_setting('strongroom.namespaces', true)::uuid END)
    OR (SELECT current_setting('strongroom.namespaces', true) = '*')
    OR namespace_id = ANY ((SELECT string_to_array(nullif(current_setting('strongroom.namespaces', true), '*'), ',')::uuid[])::uuid[])
)
