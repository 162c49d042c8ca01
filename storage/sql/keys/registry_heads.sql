-- name: limit_idle
-- A client that hangs, or whose host is gone, must not keep the summary locked, because every change needs it.
SELECT set_config('idle_in_transaction_session_timeout', $1, true)

-- name: lock
-- The first lock of each change of the registry, in the order of the namespaces, so that two changes can't deadlock.
SELECT FROM registry_heads WHERE namespace_id = ANY ($1::uuid[]) ORDER BY namespace_id FOR UPDATE

-- name: read
-- Heads and keys of one snapshot. Keys that another transaction registers between two statements would seem to have no head.
SELECT namespace_id, class, d.version, suite, state, provider, kek_id, kek_version, wrapped, commitment, created_at,
       destroyed_at, layout, withdrawn, disabled_from, record_lease, h.version AS head_version, h.shredding, h.mac,
       s.version AS summary_version, s.nonce, s.total, s.mac AS summary_mac
FROM unnest($1::uuid[]) AS n (namespace_id)
LEFT JOIN registry_heads AS h USING (namespace_id) LEFT JOIN data_keys AS d USING (namespace_id) LEFT JOIN registry_summary AS s ON true
ORDER BY namespace_id, class, d.version

-- name: keys
SELECT namespace_id, class, version, suite, state, provider, kek_id, kek_version, wrapped, commitment, created_at,
       destroyed_at, layout, withdrawn, disabled_from, record_lease
FROM data_keys WHERE namespace_id = ANY ($1::uuid[]) ORDER BY namespace_id, class, version

-- name: put
-- Compare and set: a head is replaced only by its successor.
INSERT INTO registry_heads AS h (namespace_id, version, shredding, mac)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bytea[], $4::bytea[]) AS n (namespace_id, version, shredding, mac)
ON CONFLICT (namespace_id) DO UPDATE SET version = EXCLUDED.version, shredding = EXCLUDED.shredding, mac = EXCLUDED.mac
WHERE h.version = EXCLUDED.version - 1
RETURNING namespace_id

-- name: lock_summary
-- The last lock of each change.
SELECT version AS summary_version, nonce, total, mac AS summary_mac FROM registry_summary FOR UPDATE

-- name: summary
SELECT version AS summary_version, nonce, total, mac AS summary_mac FROM registry_summary

-- name: raise_summary
-- A person accepted an older state of the registry. Its version continues above the newest one that is known.
UPDATE registry_summary SET version = $2, nonce = $3, total = $4, mac = $5 WHERE version = $1 AND $2 > version RETURNING version

-- name: put_summary
INSERT INTO registry_summary AS s (version, nonce, total, mac) VALUES ($1, $2, $3, $4)
ON CONFLICT (only_row) DO UPDATE SET version = EXCLUDED.version, nonce = EXCLUDED.nonce, total = EXCLUDED.total, mac = EXCLUDED.mac
WHERE s.version = EXCLUDED.version - 1
RETURNING version

-- name: all
-- The whole registry in one snapshot. Without a summary it has no rows.
SELECT namespace_id, class, d.version, suite, state, provider, kek_id, kek_version, wrapped, commitment, created_at,
       destroyed_at, layout, withdrawn, disabled_from, record_lease,
       h.version AS head_version, h.shredding, h.mac,
       s.version AS summary_version, s.nonce, s.total, s.mac AS summary_mac
FROM registry_summary AS s LEFT JOIN (data_keys AS d FULL JOIN registry_heads AS h USING (namespace_id)) ON true
ORDER BY namespace_id, class, d.version
