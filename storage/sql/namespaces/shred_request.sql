-- name: find
SELECT requested_at, due_at, keep_kek, confirmed_at, rows_deleted, documents, completed_at, automatic
FROM shreddings WHERE namespace_id = $1

-- name: lock
SELECT requested_at, due_at, keep_kek, confirmed_at, rows_deleted, documents, completed_at, automatic
FROM shreddings WHERE namespace_id = $1 FOR UPDATE

-- name: now
-- The database server's clock, because the clocks of the hosts that run commands may differ.
SELECT clock_timestamp() AS now

-- name: certificate
SELECT certificate FROM erasure_certificates WHERE namespace_id = $1
