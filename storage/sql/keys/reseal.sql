-- name: of_leads
-- Rows of a namespace under several values of the key's first column, each from its beginning.
SELECT found.* FROM unnest($4::integer[]) AS leads (lead)
CROSS JOIN LATERAL (
    SELECT {columns} FROM {table} AS t WHERE t.{lead} = leads.lead AND t.namespace_id = $1 ORDER BY {rest} LIMIT $3
) AS found
LIMIT $3

-- name: of_lead
-- Rows of a namespace under one value of the key's first column.
SELECT {columns} FROM {table} AS t WHERE t.{lead} = $4 AND t.namespace_id = $1{after} ORDER BY {rest} LIMIT $3

-- name: walk
-- Rows of all namespaces, where the key does not go on with the namespace.
SELECT {columns} FROM {table} AS t WHERE $1::uuid IS NOT NULL{after} ORDER BY {rest} LIMIT $3

-- name: rows
-- Those rows of a page that are wanted, as many as the bytes allow, and its last one, which tells how far the page goes.
SELECT * FROM (
    SELECT page.*, count(*) OVER () AS in_page, row_number() OVER so_far = count(*) OVER () AS is_last,
           sum(CASE WHEN page.wanted THEN page.size ELSE 0 END) OVER so_far
               - CASE WHEN page.wanted THEN page.size ELSE 0 END AS before
    FROM ({page}) AS page
    WINDOW so_far AS (ROWS UNBOUNDED PRECEDING)
) AS counted
WHERE before < {bytes} AND (wanted OR is_last)

-- name: count
-- How many rows of a page are wanted, and the key of its last one. Of the sealed values no more than the header is read.
SELECT count(*) AS in_page, count(*) FILTER (WHERE page.wanted) AS wanted, {last} FROM ({page}) AS page

-- name: write
-- Only what is still as it was read. Who waits for nobody is in no circle of waiters, in whatever order others lock.
WITH locked AS MATERIALIZED (
    SELECT {key}, r.new
    FROM unnest({arrays}) AS r ({names}, old, new)
    JOIN {table} AS t ON {same_as_r} AND t.{column} = r.old{confined}
    FOR NO KEY UPDATE OF t{patience}
)
UPDATE {table} AS t SET {column} = l.new FROM locked AS l WHERE {same_as_l}{confined} RETURNING {key}

-- name: lease
SELECT record_lease FROM data_keys WHERE namespace_id = $1 AND class = 'data' AND version = $2
