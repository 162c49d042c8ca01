-- name: get
SELECT version, data FROM access_policy

-- name: create
INSERT INTO access_policy (version, data) VALUES (1, $1) ON CONFLICT DO NOTHING RETURNING version

-- name: replace
UPDATE access_policy SET version = version + 1, data = $2 WHERE version = $1 RETURNING version
