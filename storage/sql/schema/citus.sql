-- name: version
SELECT extversion AS version FROM pg_extension WHERE extname = 'citus'

-- name: tables
-- The distributed tables of a schema, each with its group of co-located tables.
SELECT c.relname::text AS name, d.colocationid AS colocation
FROM pg_dist_partition AS d JOIN pg_class AS c ON c.oid = d.logicalrelid
WHERE c.relnamespace = $1::regnamespace AND d.partmethod = 'h'

-- name: functions
-- The functions of a schema whose calls go to the node of a shard.
SELECT p.proname::text AS name FROM pg_dist_object AS d JOIN pg_proc AS p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND p.pronamespace = $1::regnamespace AND d.distribution_argument_index = 0

-- name: nodes
-- The workers, the number of shards of a table on each, and the version of the extension there. A node that does not answer has an error.
-- Citus does not ask a node that is not active, so it has neither a version nor an error.
SELECT n.nodename AS host, n.nodeport AS port, n.isactive AS is_active, coalesce(p.shards, 0) AS shards, r.success, r.result
FROM pg_dist_node AS n
LEFT JOIN (
    SELECT p.groupid, count(*) AS shards FROM pg_dist_placement AS p JOIN pg_dist_shard AS s ON s.shardid = p.shardid
    WHERE s.logicalrelid = to_regclass($1) GROUP BY p.groupid
) AS p ON p.groupid = n.groupid
LEFT JOIN run_command_on_workers($$SELECT extversion FROM pg_extension WHERE extname = 'citus'$$) AS r
       ON r.nodename = n.nodename AND r.nodeport = n.nodeport
WHERE n.noderole = 'primary' AND n.groupid > 0
ORDER BY n.nodename, n.nodeport
