-- name: next
-- The distinct values after $1 of a key's first column. Each takes one look-up in the key.
WITH RECURSIVE partitions AS (
    SELECT min({partition})::bigint AS partition FROM {table} WHERE {partition} > $1::bigint
    UNION ALL
    SELECT (SELECT min({partition}) FROM {table} WHERE {partition} > partitions.partition)::bigint
    FROM partitions WHERE partitions.partition IS NOT NULL
)
SELECT partition FROM partitions WHERE partition IS NOT NULL LIMIT $2

-- name: of_namespace
SELECT DISTINCT {partition} AS partition FROM {table} WHERE namespace_id = $1 ORDER BY 1
