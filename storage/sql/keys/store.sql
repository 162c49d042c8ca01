-- name: insert
INSERT INTO data_keys (namespace_id, class, version, suite, state, provider, kek_id, kek_version, wrapped, commitment,
                       created_at, layout)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp(), $11)
ON CONFLICT DO NOTHING RETURNING created_at

-- name: retire
-- Compare and set: of two concurrent rotations one finds another active version.
UPDATE data_keys SET state = 'decrypt_only'
WHERE namespace_id = $1 AND class = $2 AND version = $3 AND state = 'active'
RETURNING version

-- name: activate
UPDATE data_keys SET state = 'active' WHERE namespace_id = $1 AND class = $2 AND version = $3 AND state = 'pending'
RETURNING version

-- name: destroy_one
UPDATE data_keys SET state = 'destroyed', wrapped = NULL, destroyed_at = clock_timestamp()
WHERE namespace_id = $1 AND class = $2 AND version = $3 AND state = 'decrypt_only'
RETURNING destroyed_at

-- name: disable
UPDATE data_keys SET disabled_from = state, state = 'disabled'
WHERE namespace_id = $1 AND state NOT IN ('disabled', 'destroyed')

-- name: enable
UPDATE data_keys SET state = coalesce(disabled_from, state), disabled_from = NULL, withdrawn = false
WHERE namespace_id = $1 AND (disabled_from IS NOT NULL OR withdrawn)

-- name: withdraw
UPDATE data_keys SET withdrawn = true WHERE namespace_id = $1 AND state <> 'destroyed'

-- name: lock_kek
-- Held while keys are registered under a KEK, and while a shredding decides whether the KEK wraps other keys.
SELECT pg_advisory_xact_lock(hashtextextended($1 || ':' || $2, 0))

-- name: deleted_kek
SELECT FROM shredded_keks WHERE provider = $1 AND kek_id = $2 AND disposal = 'delete' LIMIT 1

-- name: retire_kek
INSERT INTO shredded_keks (namespace_id, provider, kek_id, disposal) VALUES ($1, $2, $3, 'delete') ON CONFLICT DO NOTHING

-- name: keep_kek
DELETE FROM shredded_keks WHERE namespace_id = $1 AND provider = $2 AND kek_id = $3

-- name: destroy
UPDATE data_keys SET state = 'destroyed', wrapped = NULL, destroyed_at = coalesce($2, clock_timestamp()), disabled_from = NULL
WHERE namespace_id = $1 AND state <> 'destroyed'
RETURNING class, version, destroyed_at

-- name: reserve
-- Suite 1: the heads, which are locked, authenticate the new numbers.
UPDATE data_keys AS d SET record_lease = r.leased
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS r (namespace_id, version, leased)
WHERE d.namespace_id = r.namespace_id AND d.class = 'data' AND d.version = r.version

-- name: providers
SELECT DISTINCT provider FROM data_keys WHERE state <> 'destroyed'

-- name: lease
-- Add uses to several keys, each at most once. The keys are locked in order, so that two statements can't deadlock.
WITH locked AS MATERIALIZED (
    SELECT d.namespace_id, d.version, r.uses, r.most
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS r (namespace_id, version, uses, most)
    JOIN data_keys AS d ON d.namespace_id = r.namespace_id AND d.class = 'data' AND d.version = r.version
    ORDER BY d.namespace_id, d.version
    FOR NO KEY UPDATE OF d
)
UPDATE data_keys AS d SET record_lease = d.record_lease + l.uses
FROM locked AS l
WHERE d.namespace_id = l.namespace_id AND d.class = 'data' AND d.version = l.version AND d.record_lease + l.uses <= l.most
RETURNING d.namespace_id, d.version

-- name: notify
-- In the transaction of a change, because changes are rare. Every process evicts the namespace's keys after the commit.
SELECT pg_notify($1, $2)

-- name: wrapped
-- Keys that a KEK wrapped, except with version $3, of all namespaces or of namespace $4.
SELECT namespace_id, class, version, suite, state, provider, kek_id, kek_version, wrapped, commitment, created_at,
       destroyed_at, layout, withdrawn, disabled_from, record_lease
FROM data_keys
WHERE state <> 'destroyed' AND provider = $1 AND kek_id = $2 AND ($3::text IS NULL OR kek_version <> $3)
  AND ($4::uuid IS NULL OR namespace_id = $4) AND (namespace_id, class, version) > ($5, $6, $7)
ORDER BY namespace_id, class, version LIMIT $8

-- name: count_wrapped
SELECT count(*) AS keys FROM data_keys
WHERE state <> 'destroyed' AND provider = $1 AND kek_id = $2 AND ($3::text IS NULL OR kek_version <> $3)
  AND ($4::uuid IS NULL OR namespace_id = $4)

-- name: rewrap
-- Update only keys whose wrapped root has not changed since it was read. No process has to evict keys, because the roots are the same.
WITH locked AS MATERIALIZED (
    SELECT d.namespace_id, d.class, d.version, r.provider, r.kek_id, r.kek_version, r.wrapped
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bytea[], $5::text[], $6::text[], $7::text[], $8::bytea[])
         AS r (namespace_id, class, version, old_wrapped, provider, kek_id, kek_version, wrapped)
    JOIN data_keys AS d
      ON d.namespace_id = r.namespace_id AND d.class = r.class AND d.version = r.version AND d.wrapped = r.old_wrapped
    ORDER BY d.namespace_id, d.class, d.version
    FOR UPDATE OF d
)
UPDATE data_keys AS d SET provider = l.provider, kek_id = l.kek_id, kek_version = l.kek_version, wrapped = l.wrapped
FROM locked AS l WHERE d.namespace_id = l.namespace_id AND d.class = l.class AND d.version = l.version
RETURNING d.version

-- name: due
SELECT namespace_id FROM data_keys
WHERE class = 'data' AND state = 'active'
  AND (created_at < statement_timestamp() - $1::interval OR record_lease >= CASE suite WHEN 1 THEN least($2::bigint, $3::bigint) ELSE $2::bigint END)
ORDER BY namespace_id

-- name: nonce_use
SELECT max(record_lease) AS leased FROM data_keys WHERE class = 'data' AND state = 'active' AND suite = 1
