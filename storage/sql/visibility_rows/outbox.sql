-- name: add
-- A changed run is sent at once, also if its document was refused before.
INSERT INTO visibility_outbox (shard_id, namespace_id, id)
SELECT o.shard_id, o.namespace_id, o.id FROM unnest($1::integer[], $2::uuid[], $3::bytea[]) AS o (shard_id, namespace_id, id)
ON CONFLICT (shard_id, namespace_id, id) DO UPDATE SET stamp = excluded.stamp, retry_at = NULL

-- name: records
-- All runs in the order of their key.
SELECT r.shard_id, r.namespace_id, r.id FROM visibility_records AS r
WHERE (r.shard_id, r.namespace_id, r.id) > ($1, $2, $3)
ORDER BY r.shard_id, r.namespace_id, r.id LIMIT $4

-- name: take
-- The next entries that are due, with their records, without one if it was deleted. At most $4 entries and about $5 bytes.
SELECT * FROM (
    SELECT o.shard_id, o.namespace_id, o.id, o.stamp, o.refusals, r.version, r.k, r.b1, r.b2, r.t, r.s,
           r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division,
           d.version AS deleted_version,
           sum(octet_length(r.s)) OVER (ORDER BY o.shard_id, o.namespace_id, o.id) - octet_length(r.s) AS before
    FROM (
        SELECT q.shard_id, q.namespace_id, q.id, q.stamp, q.refusals FROM visibility_outbox AS q
        WHERE (q.shard_id, q.namespace_id, q.id) > ($1, $2, $3) AND (
            q.retry_at IS NULL OR q.retry_at <= now() OR q.retry_at > now() + $6::interval -- the server's clock was set back
        )
        ORDER BY q.shard_id, q.namespace_id, q.id LIMIT $4
    ) AS o
    LEFT JOIN visibility_records AS r ON r.shard_id = o.shard_id AND r.namespace_id = o.namespace_id AND r.id = o.id
    LEFT JOIN visibility_deletes AS d ON d.shard_id = o.shard_id AND d.namespace_id = o.namespace_id AND d.id = o.id
) AS next
WHERE before IS NULL OR before < $5
ORDER BY shard_id, namespace_id, id

-- name: take_on_nodes
-- The same on a Citus cluster, which runs an outer join on the nodes only if a table there comes first.
SELECT * FROM (
    SELECT o.shard_id, o.namespace_id, o.id, o.stamp, o.refusals, r.version, r.k, r.b1, r.b2, r.t, r.s,
           r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division,
           d.version AS deleted_version,
           sum(octet_length(r.s)) OVER (ORDER BY o.shard_id, o.namespace_id, o.id) - octet_length(r.s) AS before
    FROM (
        SELECT q.shard_id, q.namespace_id, q.id FROM visibility_outbox AS q
        WHERE (q.shard_id, q.namespace_id, q.id) > ($1, $2, $3) AND (
            q.retry_at IS NULL OR q.retry_at <= now() OR q.retry_at > now() + $6::interval -- the server's clock was set back
        )
        ORDER BY q.shard_id, q.namespace_id, q.id LIMIT $4
    ) AS p
    JOIN visibility_outbox AS o ON o.shard_id = p.shard_id AND o.namespace_id = p.namespace_id AND o.id = p.id
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
    /* confined: WHERE o.shard_id = $5 */
    ORDER BY o.shard_id, o.namespace_id, o.id
    FOR UPDATE OF o
)
DELETE FROM visibility_outbox AS o
USING sent AS s WHERE o.shard_id = s.shard_id AND o.namespace_id = s.namespace_id AND o.id = s.id
/* confined: AND o.shard_id = $5 */

-- name: again
-- Runs whose record has another epoch than the one that was sent, or the same version but another sealed value. No two sealed values
-- begin with the same header and nonce.
INSERT INTO visibility_outbox (shard_id, namespace_id, id)
SELECT r.shard_id, r.namespace_id, r.id
FROM unnest($1::integer[], $2::uuid[], $3::bytea[], $4::integer[], $5::bigint[], $6::bytea[])
     AS d (shard_id, namespace_id, id, k, version, head)
JOIN visibility_records AS r ON r.shard_id = d.shard_id AND r.namespace_id = d.namespace_id AND r.id = d.id
WHERE (r.k <> d.k OR (r.version = d.version AND substring(r.s from 1 for 32) <> d.head))
/* confined: AND r.shard_id = $7 */
ORDER BY r.shard_id, r.namespace_id, r.id
ON CONFLICT DO NOTHING

-- name: set_aside
-- Each refusal doubles the time from $6 until the document is sent again, up to $7. A run that changed meanwhile is left alone.
WITH refused AS MATERIALIZED (
    SELECT o.shard_id, o.namespace_id, o.id, d.refusal
    FROM unnest($1::integer[], $2::uuid[], $3::bytea[], $4::uuid[], $5::text[]) AS d (shard_id, namespace_id, id, stamp, refusal)
    JOIN visibility_outbox AS o
      ON o.shard_id = d.shard_id AND o.namespace_id = d.namespace_id AND o.id = d.id AND o.stamp = d.stamp
    /* confined: WHERE o.shard_id = $8 */
    ORDER BY o.shard_id, o.namespace_id, o.id
    FOR UPDATE OF o
)
UPDATE visibility_outbox AS o
SET refusals = o.refusals + 1, refusal = left(s.refusal, 200),
    retry_at = now() + least($6::interval * (2 ^ least(o.refusals, 20)), $7::interval)
FROM refused AS s WHERE o.shard_id = s.shard_id AND o.namespace_id = s.namespace_id AND o.id = s.id
/* confined: AND o.shard_id = $8 */

-- name: waiting
SELECT count(*) AS runs, count(*) FILTER (WHERE refusals > 0) AS refused FROM visibility_outbox

-- name: refused
SELECT shard_id, namespace_id, id, refusals, refusal, retry_at FROM visibility_outbox WHERE refusals > 0
ORDER BY refusals DESC, shard_id, namespace_id, id LIMIT $1

-- name: old_deletes
-- The oldest deletions of more than $1 ago that are not in the outbox any more, at most $2.
SELECT d.shard_id, d.namespace_id, d.id, d.version, EXISTS (
    SELECT FROM visibility_records AS r WHERE r.shard_id = d.shard_id AND r.namespace_id = d.namespace_id AND r.id = d.id
) AS exists_again
FROM visibility_deletes AS d
WHERE d.deleted_at < now() - $1::interval
  AND NOT EXISTS (
      SELECT FROM visibility_outbox AS o WHERE o.shard_id = d.shard_id AND o.namespace_id = d.namespace_id AND o.id = d.id
  )
ORDER BY d.deleted_at LIMIT $2

-- name: created_again
-- Runs that have a record again. Their documents are written again, because a deletion of a mark can have removed them.
INSERT INTO visibility_outbox (shard_id, namespace_id, id)
SELECT r.shard_id, r.namespace_id, r.id
FROM unnest($1::integer[], $2::uuid[], $3::bytea[]) AS f (shard_id, namespace_id, id)
JOIN visibility_records AS r ON r.shard_id = f.shard_id AND r.namespace_id = f.namespace_id AND r.id = f.id
/* confined: WHERE r.shard_id = $4 */
ORDER BY r.shard_id, r.namespace_id, r.id
ON CONFLICT DO NOTHING

-- name: forget_deletes
-- A run that was deleted again meanwhile has a newer version or is in the outbox again, and its deletion is kept.
DELETE FROM visibility_deletes AS d
USING unnest($1::integer[], $2::uuid[], $3::bytea[], $4::bigint[]) AS f (shard_id, namespace_id, id, version)
WHERE d.shard_id = f.shard_id AND d.namespace_id = f.namespace_id AND d.id = f.id AND d.version = f.version
  /* confined: AND d.shard_id = $5 */
  AND NOT EXISTS (
      SELECT FROM visibility_outbox AS o WHERE o.shard_id = d.shard_id AND o.namespace_id = d.namespace_id AND o.id = d.id
      /* confined: AND o.shard_id = $5 */
  )
