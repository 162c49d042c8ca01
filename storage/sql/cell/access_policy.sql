-- name: get
-- Also the server's time, because keys and grants expire by its clock. The first row has no policy if there is none.
SELECT coalesce(p.version, 0) AS version, p.data, clock_timestamp() AS now FROM (SELECT) AS always LEFT JOIN access_policy AS p ON true

-- name: create
INSERT INTO access_policy (version, data) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING version

-- name: replace
UPDATE access_policy SET version = $1, data = $2 WHERE version = $3 RETURNING version
