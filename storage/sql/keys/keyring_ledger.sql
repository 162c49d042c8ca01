-- name: heads
SELECT provider, keyring_id, change, changes, changed_at FROM keyrings WHERE provider = ANY ($1::text[])

-- name: register
INSERT INTO keyrings (provider, keyring_id, change, changes, changed_at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT DO NOTHING RETURNING provider

-- name: advance
-- Compare and set: of two copies of a keyring file that are changed at once, one finds another change.
UPDATE keyrings SET keyring_id = $2, change = $3, changes = $4, changed_at = now() WHERE provider = $1 AND change = $5
RETURNING provider

-- name: adopt
INSERT INTO keyrings (provider, keyring_id, change, changes, changed_at) VALUES ($1, $2, $3, $4, now())
ON CONFLICT (provider) DO UPDATE
SET keyring_id = excluded.keyring_id, change = excluded.change, changes = excluded.changes, changed_at = excluded.changed_at
