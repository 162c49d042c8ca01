-- name: put
-- Only a newer version replaces a record, so a late or repeated write changes nothing, and neither does a write of a run that was
-- deleted since. Arrays of arrays must be rectangular, so the tokens travel as array literals.
INSERT INTO visibility_records AS stored (shard_id, namespace_id, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division)
SELECT r.shard_id, $1, r.id, r.version, r.k, r.b1, r.b2, r.t::bigint[], r.s,
       r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division
FROM unnest($2::integer[], $3::bytea[], $4::bigint[], $5::integer[], $6::bigint[], $7::bigint[], $8::text[], $9::bytea[],
            $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
     AS r (shard_id, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division)
WHERE NOT EXISTS (
    SELECT FROM visibility_deletes AS d
    WHERE d.shard_id = r.shard_id AND d.namespace_id = $1 AND d.id = r.id AND d.version >= r.version
)
ORDER BY r.shard_id, r.id -- a join may change the order
ON CONFLICT (shard_id, namespace_id, id)
DO UPDATE SET version = excluded.version, k = excluded.k, b1 = excluded.b1, b2 = excluded.b2, t = excluded.t, s = excluded.s,
    h_workflow = excluded.h_workflow,
    h_run = excluded.h_run, h_type = excluded.h_type, h_status = excluded.h_status, h_queue = excluded.h_queue,
    h_division = excluded.h_division
WHERE stored.version < excluded.version
RETURNING id

-- name: get
SELECT shard_id, id, version, k, b1, b2, s FROM visibility_records WHERE shard_id = $1 AND namespace_id = $2 AND id = $3

-- name: delete
DELETE FROM visibility_records WHERE shard_id = $1 AND namespace_id = $2 AND id = $3 AND version <= $4
RETURNING id

-- name: newer
SELECT id FROM visibility_records WHERE shard_id = $1 AND namespace_id = $2 AND id = $3

-- name: bury
INSERT INTO visibility_deletes AS stored (shard_id, namespace_id, id, version) VALUES ($1, $2, $3, $4)
ON CONFLICT (shard_id, namespace_id, id) DO UPDATE SET version = greatest(stored.version, excluded.version), deleted_at = now()
