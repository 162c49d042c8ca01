-- name: add
INSERT INTO visibility_outbox (shard_id, namespace_id, id)
SELECT o.shard_id, o.namespace_id, o.id FROM unnest($1::integer[], $2::uuid[], $3::bytea[]) AS o (shard_id, namespace_id, id)
ON CONFLICT (shard_id, namespace_id, id) DO UPDATE SET stamp = excluded.stamp

-- name: records
-- All runs in the order of their key.
SELECT r.shard_id, r.namespace_id, r.id FROM visibility_records AS r
WHERE (r.shard_id, r.namespace_id, r.id) > ($1, $2, $3)
ORDER BY r.shard_id, r.namespace_id, r.id LIMIT $4

-- name: take
-- The next entries with their records, without one if it was deleted. At most $4 entries and about $5 bytes.
SELECT * FROM (
    SELECT o.shard_id, o.namespace_id, o.id, o.stamp, r.version, r.k, r.b1, r.b2, r.t, r.s,
           r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division,
           d.version AS deleted_version,
           sum(octet_length(r.s)) OVER (ORDER BY o.shard_id, o.namespace_id, o.id) - octet_length(r.s) AS before
    FROM (
        SELECT q.shard_id, q.namespace_id, q.id, q.stamp FROM visibility_outbox AS q
        WHERE (q.shard_id, q.namespace_id, q.id) > ($1, $2, $3)
        ORDER BY q.shard_id, q.namespace_id, q.id LIMIT $4
    ) AS o
    LEFT JOIN visibility_records AS r ON r.shard_id = o.shard_id AND r.namespace_id = o.namespace_id AND r.id = o.id
    LEFT JOIN visibility_deletes AS d ON d.shard_id = o.shard_id AND d.namespace_id = o.namespace_id AND d.id = o.id
) AS next
WHERE before IS NULL OR before < $5
ORDER BY shard_id, namespace_id, id

-- name: done
-- A run that changed meanwhile has another stamp, and stays. All writers lock rows in the order of their key.
WITH sent AS MATERIALIZED (
    SELECT o.shard_id, o.namespace_id, o.id
    FROM unnest($1::integer[], $2::uuid[], $3::bytea[], $4::uuid[]) AS d (shard_id, namespace_id, id, stamp)
    JOIN visibility_outbox AS o
      ON o.shard_id = d.shard_id AND o.namespace_id = d.namespace_id AND o.id = d.id AND o.stamp = d.stamp
    ORDER BY o.shard_id, o.namespace_id, o.id
    FOR UPDATE OF o
)
DELETE FROM visibility_outbox AS o
USING sent AS s WHERE o.shard_id = s.shard_id AND o.namespace_id = s.namespace_id AND o.id = s.id

-- name: again
-- Runs whose record has another epoch than the one that was sent, or the same version but another sealed value. No two sealed values
-- begin with the same header and nonce.
INSERT INTO visibility_outbox (shard_id, namespace_id, id)
SELECT r.shard_id, r.namespace_id, r.id
FROM unnest($1::integer[], $2::uuid[], $3::bytea[], $4::integer[], $5::bigint[], $6::bytea[])
     AS d (shard_id, namespace_id, id, k, version, head)
JOIN visibility_records AS r ON r.shard_id = d.shard_id AND r.namespace_id = d.namespace_id AND r.id = d.id
WHERE r.k <> d.k OR (r.version = d.version AND substring(r.s from 1 for 32) <> d.head)
ORDER BY r.shard_id, r.namespace_id, r.id
ON CONFLICT DO NOTHING

-- name: waiting
SELECT count(*) AS runs FROM visibility_outbox

-- name: forget_deletes
DELETE FROM visibility_deletes AS d
WHERE d.deleted_at < now() - $1::interval
  AND NOT EXISTS (
      SELECT FROM visibility_outbox AS o WHERE o.shard_id = d.shard_id AND o.namespace_id = d.namespace_id AND o.id = d.id
  )
