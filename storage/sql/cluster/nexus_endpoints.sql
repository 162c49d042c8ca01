-- name: version
SELECT version FROM nexus_endpoints_status

-- name: raise_version
UPDATE nexus_endpoints_status SET version = version + 1 WHERE version = $1 RETURNING version

-- name: create
INSERT INTO nexus_endpoints (id, version, data) VALUES ($1, $2::bigint + 1, $3) ON CONFLICT DO NOTHING RETURNING id

-- name: update
-- Returns the replaced value. The row of the table's version is locked, so that nobody else changes an endpoint.
UPDATE nexus_endpoints AS n SET version = n.version + 1, data = $3
FROM (SELECT o.id, o.data FROM nexus_endpoints AS o WHERE o.id = $1 AND o.version = $2) AS old
WHERE n.id = old.id RETURNING old.data

-- name: delete
DELETE FROM nexus_endpoints WHERE id = $1 RETURNING data

-- name: get
SELECT id, version, data FROM nexus_endpoints WHERE id = $1

-- name: list
SELECT id, version, data FROM nexus_endpoints WHERE id > $1 ORDER BY id LIMIT $2
