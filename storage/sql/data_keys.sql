-- name: list
SELECT namespace_id, class, version, suite, state, provider, kek_id, kek_version, wrapped, commitment, created_at,
       destroyed_at, layout
FROM data_keys WHERE namespace_id = $1 ORDER BY class, version

-- name: insert
INSERT INTO data_keys (namespace_id, class, version, suite, state, provider, kek_id, kek_version, wrapped, commitment,
                       created_at, destroyed_at, layout)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT DO NOTHING RETURNING version

-- name: retire
-- Compare and set: of two rotations at once one finds the active version changed.
UPDATE data_keys SET state = 'decrypt_only'
WHERE namespace_id = $1 AND class = $2 AND version = $3 AND state = 'active'
RETURNING version

-- name: activate
UPDATE data_keys SET state = 'active' WHERE namespace_id = $1 AND class = $2 AND version = $3 AND state = 'pending'
RETURNING version

-- name: destroy_one
UPDATE data_keys SET state = 'destroyed', wrapped = NULL, destroyed_at = $4
WHERE namespace_id = $1 AND class = $2 AND version = $3 AND state = 'decrypt_only'
RETURNING version

-- name: disable
UPDATE data_keys SET disabled_from = state, state = 'disabled'
WHERE namespace_id = $1 AND state NOT IN ('disabled', 'destroyed')

-- name: enable
UPDATE data_keys SET state = disabled_from, disabled_from = NULL WHERE namespace_id = $1 AND disabled_from IS NOT NULL

-- name: notify
SELECT pg_notify($1, $2)

-- name: lock_kek
-- Between who registers keys under a KEK and who decides that nothing else is wrapped by it.
SELECT pg_advisory_xact_lock(hashtextextended($1 || ':' || $2, 0))

-- name: deleted_kek
SELECT FROM shredded_keks WHERE provider = $1 AND kek_id = $2 AND disposal = 'delete' LIMIT 1

-- name: destroy
UPDATE data_keys SET state = 'destroyed', wrapped = NULL, destroyed_at = $2, disabled_from = NULL
WHERE namespace_id = $1 AND state <> 'destroyed'

-- name: providers
SELECT DISTINCT provider FROM data_keys WHERE state <> 'destroyed'

-- name: lease
UPDATE data_keys SET record_lease = record_lease + $3
WHERE namespace_id = $1 AND class = 'data' AND version = $2 AND record_lease + $3 <= $4
RETURNING record_lease
