-- name: living
SELECT FROM data_keys WHERE namespace_id = $1 AND state <> 'destroyed' LIMIT 1

-- name: count
SELECT count(*) AS rows FROM {table} WHERE namespace_id = $1

-- name: window
-- The distinct values after $1 of a key's first column, one look-up in the key for each.
WITH RECURSIVE leads AS (
    SELECT min({lead})::bigint AS lead FROM {table} WHERE {lead} > $1::bigint
    UNION ALL
    SELECT (SELECT min({lead}) FROM {table} WHERE {lead} > leads.lead)::bigint FROM leads WHERE leads.lead IS NOT NULL
)
SELECT lead FROM leads WHERE lead IS NOT NULL LIMIT $2

-- name: delete_by_key
DELETE FROM {table} WHERE ctid = ANY(ARRAY(
    SELECT found.row
    FROM unnest($2::integer[]) AS leads (lead)
    CROSS JOIN LATERAL (
        SELECT ctid AS row FROM {table} WHERE {lead} = leads.lead AND namespace_id = $1 LIMIT $3
    ) AS found
    LIMIT $3
)) AND namespace_id = $1

-- name: delete_by_namespace
DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE namespace_id = $1 LIMIT $2)) AND namespace_id = $1

-- name: distributed
SELECT distributed FROM cell

-- name: leads_of_namespace
SELECT DISTINCT {lead} AS lead FROM {table} WHERE namespace_id = $1 ORDER BY 1

-- name: delete_of_lead
DELETE FROM {table} WHERE {lead} = $2 AND namespace_id = $1
