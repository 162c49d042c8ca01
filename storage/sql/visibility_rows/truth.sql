-- name: page
-- Records in the order of their key, at most $4 and about $5 bytes.
SELECT shard_id, namespace_id, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division,
       refusals IS NOT NULL AS waiting, coalesce(refusals, 0) > 0 AS refused
FROM (
    SELECT r.shard_id, r.namespace_id, r.id, r.version, r.k, r.b1, r.b2, r.t, r.s,
           r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division,
           (
               SELECT o.refusals FROM visibility_outbox AS o
               WHERE o.shard_id = r.shard_id AND o.namespace_id = r.namespace_id AND o.id = r.id
           ) AS refusals,
           sum(octet_length(r.s)) OVER (ORDER BY r.shard_id, r.namespace_id, r.id) - octet_length(r.s) AS before
    FROM (
        SELECT v.shard_id, v.namespace_id, v.id, v.version, v.k, v.b1, v.b2, v.t, v.s,
               v.h_workflow, v.h_run, v.h_type, v.h_status, v.h_queue, v.h_division
        FROM visibility_records AS v
        WHERE (v.shard_id, v.namespace_id, v.id) > ($1, $2, $3)
        ORDER BY v.shard_id, v.namespace_id, v.id LIMIT $4
    ) AS r
) AS page
WHERE before < $5
ORDER BY shard_id, namespace_id, id

-- name: page_on_nodes
-- The same on a Citus cluster, which refuses a correlated sub-query next to a page.
SELECT shard_id, namespace_id, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division,
       refusals IS NOT NULL AS waiting, coalesce(refusals, 0) > 0 AS refused
FROM (
    SELECT r.shard_id, r.namespace_id, r.id, r.version, r.k, r.b1, r.b2, r.t, r.s,
           r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division, o.refusals,
           sum(octet_length(r.s)) OVER (ORDER BY r.shard_id, r.namespace_id, r.id) - octet_length(r.s) AS before
    FROM (
        SELECT v.shard_id, v.namespace_id, v.id FROM visibility_records AS v
        WHERE (v.shard_id, v.namespace_id, v.id) > ($1, $2, $3)
        ORDER BY v.shard_id, v.namespace_id, v.id LIMIT $4
    ) AS p
    JOIN visibility_records AS r ON r.shard_id = p.shard_id AND r.namespace_id = p.namespace_id AND r.id = p.id
    LEFT JOIN visibility_outbox AS o ON o.shard_id = r.shard_id AND o.namespace_id = r.namespace_id AND o.id = r.id
) AS page
WHERE before < $5
ORDER BY shard_id, namespace_id, id

-- name: again
-- The records of some runs. A run without a record is left out.
SELECT r.shard_id, r.namespace_id, r.id, r.version, r.k, r.b1, r.b2, r.t, r.s,
       r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division,
       o.refusals IS NOT NULL AS waiting, coalesce(o.refusals, 0) > 0 AS refused
FROM unnest($1::integer[], $2::uuid[], $3::bytea[]) AS w (shard_id, namespace_id, id)
JOIN visibility_records AS r ON r.shard_id = w.shard_id AND r.namespace_id = w.namespace_id AND r.id = w.id
LEFT JOIN visibility_outbox AS o ON o.shard_id = r.shard_id AND o.namespace_id = r.namespace_id AND o.id = r.id

-- name: owned
-- The ids that have a record with these buckets in one of the namespaces.
SELECT DISTINCT w.id FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS w (id, b1, b2)
JOIN visibility_records AS r ON r.namespace_id = ANY($4::uuid[]) AND r.b1 = w.b1 AND r.b2 = w.b2 AND r.id = w.id

-- name: waiting
SELECT o.id FROM visibility_outbox AS o WHERE o.id = ANY($1::bytea[])

-- name: namespaces
SELECT namespace_id FROM namespaces

-- name: deletions
SELECT shard_id, namespace_id, id, version FROM visibility_deletes
WHERE (shard_id, namespace_id, id) > ($1, $2, $3) ORDER BY shard_id, namespace_id, id LIMIT $4
