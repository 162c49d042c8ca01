-- name: count
SELECT k, count(*) AS records FROM visibility_records WHERE namespace_id = $1 GROUP BY k

-- name: page
-- Records of any other epoch than $2, in the order of a list.
SELECT shard_id, id, version, k, b1, b2, s FROM visibility_records
WHERE namespace_id = $1 AND k <> $2 AND (b1, b2, id) < ($3, $4, $5)
ORDER BY b1 DESC, b2 DESC, id DESC LIMIT $6

-- name: whole
-- All records with their tokens, in the order of a list.
SELECT shard_id, id, version, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division
FROM visibility_records
WHERE namespace_id = $1 AND (b1, b2, id) < ($2, $3, $4)
ORDER BY b1 DESC, b2 DESC, id DESC LIMIT $5

-- name: rewrite
-- Update only rows that have not changed since they were read. All writers lock rows in the order of their key.
WITH locked AS MATERIALIZED (
    SELECT v.shard_id, v.id, r.k, r.b1, r.b2, r.t::bigint[] AS t, r.s, r.h_workflow, r.h_run, r.h_type, r.h_status, r.h_queue, r.h_division
    FROM unnest($2::integer[], $3::bytea[], $4::bigint[], $5::integer[], $6::integer[], $7::bigint[], $8::bigint[], $9::text[],
                $10::bytea[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[],
                $17::bigint[], $18::bigint[], $19::bytea[])
         AS r (shard_id, id, version, old_k, k, b1, b2, t, s, h_workflow, h_run, h_type, h_status, h_queue, h_division,
               old_b1, old_b2, old_tag)
    JOIN visibility_records AS v
      ON v.shard_id = r.shard_id AND v.namespace_id = $1 AND v.id = r.id AND v.version = r.version AND v.k = r.old_k
     AND v.b1 = r.old_b1 AND v.b2 = r.old_b2 AND substr(v.s, octet_length(v.s) - 15) = r.old_tag
    /* confined: WHERE v.shard_id = $20 */
    ORDER BY v.shard_id, v.id
    FOR UPDATE OF v
)
UPDATE visibility_records AS v
SET k = l.k, b1 = l.b1, b2 = l.b2, t = l.t, s = l.s, h_workflow = l.h_workflow, h_run = l.h_run, h_type = l.h_type, h_status = l.h_status,
    h_queue = l.h_queue, h_division = l.h_division
FROM locked AS l WHERE v.shard_id = l.shard_id AND v.namespace_id = $1 AND v.id = l.id
/* confined: AND v.shard_id = $20 */
RETURNING v.shard_id, v.id
