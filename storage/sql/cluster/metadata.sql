-- name: list
SELECT cluster_name, version, data FROM cluster_metadata WHERE cluster_name COLLATE "C" > $1 ORDER BY cluster_name COLLATE "C" LIMIT $2

-- name: get
SELECT cluster_name, version, data FROM cluster_metadata WHERE cluster_name = $1

-- name: create
INSERT INTO cluster_metadata (cluster_name, version, data) VALUES ($1, 1, $2) ON CONFLICT DO NOTHING RETURNING version

-- name: update
-- The row is locked.
UPDATE cluster_metadata SET version = version + 1, data = $3 WHERE cluster_name = $1 AND version = $2 RETURNING version

-- name: lock
SELECT cluster_name, version, data FROM cluster_metadata WHERE cluster_name = $1 FOR UPDATE

-- name: members
SELECT host_id, role, rpc_address, rpc_port, session_start, last_heartbeat, record_expiry FROM cluster_membership
WHERE record_expiry > statement_timestamp()
  AND ($1::bytea IS NULL OR host_id = $1)
  AND ($2::smallint IS NULL OR role = $2)
  AND ($3::text IS NULL OR rpc_address = $3)
  AND ($4::interval IS NULL OR last_heartbeat > statement_timestamp() - $4)
  AND ($5::timestamptz IS NULL OR session_start > $5)
  AND host_id > $6
ORDER BY host_id LIMIT $7

-- name: upsert_member
INSERT INTO cluster_membership (host_id, role, rpc_address, rpc_port, session_start, last_heartbeat, record_expiry)
VALUES ($1, $2, $3, $4, $5, statement_timestamp(), statement_timestamp() + $6::interval)
ON CONFLICT (host_id) DO UPDATE SET
    role = EXCLUDED.role, rpc_address = EXCLUDED.rpc_address, rpc_port = EXCLUDED.rpc_port,
    session_start = EXCLUDED.session_start, last_heartbeat = EXCLUDED.last_heartbeat, record_expiry = EXCLUDED.record_expiry

-- name: prune_members
-- A host with a newer heartbeat has another expiry, and stays. The order has no ties, because on a Citus cluster each node prunes its copy.
DELETE FROM cluster_membership WHERE record_expiry <= statement_timestamp() AND host_id IN (
    SELECT host_id FROM cluster_membership WHERE record_expiry <= statement_timestamp() ORDER BY record_expiry, host_id LIMIT $1
) RETURNING host_id
