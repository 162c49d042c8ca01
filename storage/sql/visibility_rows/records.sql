-- name: put
-- Only a newer version replaces a record, so a late or repeated write changes nothing, and neither does a write of a run that was
-- deleted since. Arrays of arrays must be rectangular, so the tokens travel as array literals.
-- The last parameters are entries of the journal, one for each shard, as if all records were written. For a record that is not
-- written, `replaced` has its image (kms/FORMAT.md section 7.7) too. `replaced` is NULL in two cases, and the statement then fails:
-- 1. Another transaction wrote the first record of a run at the same moment, so its image is not known.
-- 2. A run was deleted after the snapshot of the statement, which does not see the deletion. A record of the snapshot is then gone when
--    it is locked. If the run had no record, its deletion has changed the row of its shard. A new record locks that row, so that such a
--    deletion waits for it.
-- Returns a row for each record that was written, and one for each shard with the digest of what its entry replaced.
WITH seen AS MATERIALIZED (
    SELECT r.shard_id, v.id
    FROM unnest($2::integer[], $3::bytea[]) AS r (shard_id, id)
    LEFT JOIN visibility_records AS v ON v.shard_id = r.shard_id AND v.namespace_id = $1 AND v.id = r.id
), held AS MATERIALIZED (
    SELECT s.shard_id, s.xmin AS changed_by FROM shards AS s
    WHERE s.shard_id IN (SELECT n.shard_id FROM seen AS n WHERE n.id IS NULL)
    ORDER BY s.shard_id
    FOR KEY SHARE
), old AS MATERIALIZED (
    SELECT v.shard_id, v.id,
           '\x004d06'::bytea || uuid_send(v.namespace_id) || v.id || int8send(v.version) || int4send(v.k) || int8send(v.b1) || int8send(v.b2)
           || substr(v.s, octet_length(v.s) - 15) AS image
    FROM unnest($2::integer[], $3::bytea[]) AS r (shard_id, id)
    JOIN visibility_records AS v ON v.shard_id = r.shard_id AND v.namespace_id = $1 AND v.id = r.id
    WHERE (SELECT count(*) FROM held) >= 0 -- so that the shards are locked before
    ORDER BY v.shard_id, v.id
    FOR UPDATE OF v
), stale AS MATERIALIZED (
    SELECT (SELECT count(n.id) FROM seen AS n) <> (SELECT count(*) FROM old)
        OR EXISTS (SELECT FROM held AS h JOIN shards AS s ON s.shard_id = h.shard_id WHERE s.xmin <> h.changed_by) AS is_stale
), written AS (
INSERT INTO visibility_records AS stored (shard_id, namespace_id, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division)
SELECT r.shard_id, $1, r.id, r.version, r.k, r.b1, r.b2, r.t::bigint[], r.s,
       r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division
FROM unnest($2::integer[], $3::bytea[], $4::bigint[], $5::integer[], $6::bigint[], $7::bigint[], $8::text[], $9::bytea[],
            $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[])
     AS r (shard_id, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division)
WHERE NOT EXISTS (
    SELECT FROM visibility_deletes AS d
    WHERE d.shard_id = r.shard_id AND d.namespace_id = $1 AND d.id = r.id AND d.version >= r.version
) AND (SELECT count(*) FROM old) >= 0 -- so that the rows are locked before
ORDER BY r.shard_id, r.id -- a join may change the order
ON CONFLICT (shard_id, namespace_id, id)
DO UPDATE SET version = excluded.version, k = excluded.k, b1 = excluded.b1, b2 = excluded.b2, t = excluded.t, s = excluded.s,
    h_workflow = excluded.h_workflow,
    h_run = excluded.h_run, h_type = excluded.h_type, h_status = excluded.h_status, h_queue = excluded.h_queue,
    h_division = excluded.h_division
WHERE stored.version < excluded.version
RETURNING shard_id, id, xmax = 0 AS is_new
), noted AS (
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT j.shard_id, $16, j.number, j.data, (
    SELECT CASE WHEN bool_or(NOT w.is_new AND o.image IS NULL) OR (SELECT is_stale FROM stale) THEN NULL ELSE coalesce(string_agg('\x004d'::bytea || CASE
        WHEN w.id IS NULL THEN '\x06'::bytea || uuid_send($1) || r.id || int8send(r.version) || int4send(r.k) || int8send(r.b1) || int8send(r.b2)
            || substr(r.s, octet_length(r.s) - 15)
        ELSE substr(o.image, 3)
    END, ''), '') END
    FROM unnest($2::integer[], $3::bytea[], $4::bigint[], $5::integer[], $6::bigint[], $7::bigint[], $9::bytea[])
         AS r (shard_id, id, version, k, b1, b2, s)
    LEFT JOIN written AS w ON w.shard_id = r.shard_id AND w.id = r.id
    LEFT JOIN old AS o ON o.shard_id = r.shard_id AND o.id = r.id
    WHERE r.shard_id = j.shard_id
)
FROM unnest($17::integer[], $18::bigint[], $19::bytea[]) AS j (shard_id, number, data)
RETURNING shard_id, sha256(nullif(replaced, '')) AS digest
)
SELECT id, NULL::integer AS shard_id, NULL::bytea AS digest FROM written
UNION ALL SELECT NULL, n.shard_id, n.digest FROM noted AS n WHERE n.digest IS NOT NULL

-- name: get
SELECT shard_id, id, version, k, b1, b2, s FROM visibility_records WHERE shard_id = $1 AND namespace_id = $2 AND id = $3

-- name: delete
-- $5, $6 and $7: the entry of the journal.
WITH deleted AS (
    DELETE FROM visibility_records WHERE shard_id = $1 AND namespace_id = $2 AND id = $3 AND version <= $4
    RETURNING '\x004d06'::bytea || uuid_send(namespace_id) || id || int8send(version) || int4send(k) || int8send(b1) || int8send(b2)
           || substr(s, octet_length(s) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced) SELECT $1, $5, $6, $7, image FROM deleted RETURNING sha256(replaced) AS digest

-- name: hold_shard
-- Waits for the writes of new records of a shard. Those that began before and come later see that the row has changed.
WITH held AS MATERIALIZED (SELECT s.shard_id FROM shards AS s WHERE s.shard_id = $1 FOR UPDATE)
UPDATE shards AS s SET range_id = s.range_id FROM held AS h WHERE s.shard_id = $1 AND h.shard_id = s.shard_id

-- name: newer
SELECT id FROM visibility_records WHERE shard_id = $1 AND namespace_id = $2 AND id = $3

-- name: bury
INSERT INTO visibility_deletes AS stored (shard_id, namespace_id, id, version) VALUES ($1, $2, $3, $4)
ON CONFLICT (shard_id, namespace_id, id) DO UPDATE SET version = greatest(stored.version, excluded.version), deleted_at = excluded.deleted_at
