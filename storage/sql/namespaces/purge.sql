-- name: living
SELECT FROM data_keys WHERE namespace_id = $1 AND state <> 'destroyed' LIMIT 1

-- name: count
SELECT count(*) AS rows FROM {table} WHERE namespace_id = $1

-- name: delete_by_key
-- {returning} is for tables in the journal: the shard and the image of each row.
DELETE FROM {table} WHERE ctid = ANY(ARRAY(
    SELECT found.row
    FROM unnest($2::integer[]) AS partitions (partition)
    CROSS JOIN LATERAL (
        SELECT ctid AS row FROM {table} WHERE {partition} = partitions.partition AND namespace_id = $1 LIMIT $3
    ) AS found
    LIMIT $3
)) AND namespace_id = $1{returning}

-- name: delete_by_namespace
DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE namespace_id = $1 LIMIT $2)) AND namespace_id = $1{returning}

-- name: distributed
SELECT distributed FROM cell

-- name: delete_of_partition
DELETE FROM {table} WHERE {partition} = $2 AND namespace_id = $1{returning}
