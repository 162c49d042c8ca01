-- name: of_partitions
-- Rows of a namespace in several partitions, each from its beginning.
SELECT found.* FROM unnest($4::integer[]) AS partitions (partition)
CROSS JOIN LATERAL (
    SELECT {columns} FROM {table} AS t WHERE t.{partition} = partitions.partition AND t.namespace_id = $1 ORDER BY {rest} LIMIT $3
) AS found
LIMIT $3

-- name: of_partition
-- Rows of a namespace in one partition.
SELECT {columns} FROM {table} AS t WHERE t.{partition} = $4 AND t.namespace_id = $1{after} ORDER BY {rest} LIMIT $3

-- name: of_table
-- Rows of all namespaces, for a table whose key does not continue with the namespace.
SELECT {columns} FROM {table} AS t WHERE $1::uuid IS NOT NULL{after} ORDER BY {rest} LIMIT $3

-- name: rows
-- The wanted rows of a page, as many as the bytes allow, and its last row, which is where the next page begins.
SELECT * FROM (
    SELECT page.*, count(*) OVER () AS in_page, row_number() OVER so_far = count(*) OVER () AS is_last,
           sum(CASE WHEN page.wanted THEN page.size ELSE 0 END) OVER so_far
               - CASE WHEN page.wanted THEN page.size ELSE 0 END AS before
    FROM ({page}) AS page
    WINDOW so_far AS (ROWS UNBOUNDED PRECEDING)
) AS counted
WHERE before < {bytes} AND (wanted OR is_last)

-- name: count
-- The number of wanted rows of a page, and the key of its last row. Only the headers of the sealed values are read.
SELECT count(*) AS in_page, count(*) FILTER (WHERE page.wanted) AS wanted, {last} FROM ({page}) AS page

-- name: write
-- Update only rows that have not changed since they were read. SKIP LOCKED never waits, so it can't deadlock.
WITH locked AS MATERIALIZED (
    SELECT {key}, r.new
    FROM unnest({arrays}) AS r ({names}, old, new)
    JOIN {table} AS t ON {same_as_r} AND t.{column} = r.old{confined}
    FOR NO KEY UPDATE OF t{locked_rows}
)
UPDATE {table} AS t SET {column} = l.new FROM locked AS l WHERE {same_as_l}{confined} RETURNING {key}{image}

-- name: newest
-- The age of the newest data key by the server's clock.
SELECT extract(epoch FROM clock_timestamp() - created_at)::double precision AS age
FROM data_keys WHERE namespace_id = $1 AND class = 'data' ORDER BY version DESC LIMIT 1

-- name: lease
SELECT record_lease FROM data_keys WHERE namespace_id = $1 AND class = 'data' AND version = $2
