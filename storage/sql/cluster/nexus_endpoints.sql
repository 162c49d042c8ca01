-- name: version
SELECT version FROM nexus_endpoints_status

-- name: raise_version
UPDATE nexus_endpoints_status SET version = version + 1 WHERE version = $1 RETURNING version

-- name: create
INSERT INTO nexus_endpoints (id, version, data) VALUES ($1, $2::bigint + 1, $3) ON CONFLICT DO NOTHING RETURNING id

-- name: update
UPDATE nexus_endpoints SET version = version + 1, data = $3 WHERE id = $1 AND version = $2 RETURNING id

-- name: delete
DELETE FROM nexus_endpoints WHERE id = $1 RETURNING id

-- name: get
SELECT id, version, data FROM nexus_endpoints WHERE id = $1

-- name: list
SELECT id, version, data FROM nexus_endpoints WHERE id > $1 ORDER BY id LIMIT $2
