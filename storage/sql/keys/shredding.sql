-- name: now
-- The server's clock: those of the machines that commands run on may differ.
SELECT clock_timestamp() AS now

-- name: lock_finish
-- Of two that finish one shredding at once, one waits. Held by a transaction, so it goes with a process that is killed.
SELECT pg_advisory_xact_lock(hashtextextended('shredding ' || $1::text, 0))

-- name: namespace
SELECT shredded_at FROM namespaces WHERE namespace_id = $1

-- name: request
INSERT INTO shreddings (namespace_id, requested_at, due_at, keep_kek) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: find
SELECT requested_at, due_at, keep_kek, confirmed_at, rows_deleted, documents, completed_at
FROM shreddings WHERE namespace_id = $1

-- name: lock
SELECT requested_at, due_at, keep_kek, confirmed_at, rows_deleted, documents, completed_at
FROM shreddings WHERE namespace_id = $1 FOR UPDATE

-- name: cancel
DELETE FROM shreddings WHERE namespace_id = $1

-- name: confirm
UPDATE shreddings SET confirmed_at = $2 WHERE namespace_id = $1

-- name: keks
SELECT DISTINCT provider, kek_id FROM data_keys WHERE namespace_id = $1 ORDER BY provider, kek_id

-- name: judge_keks
-- A KEK is the namespace's own where no other key that is not destroyed is wrapped by it, the cell's included.
SELECT DISTINCT own.provider, own.kek_id, CASE
    WHEN $2 THEN 'kept'
    WHEN EXISTS (
        SELECT FROM data_keys AS other
        WHERE other.provider = own.provider AND other.kek_id = own.kek_id
          AND other.namespace_id <> $1 AND other.state <> 'destroyed'
    ) THEN 'shared'
    ELSE 'delete'
END AS disposal
FROM data_keys AS own WHERE own.namespace_id = $1 ORDER BY 1, 2

-- name: other_keks
SELECT DISTINCT provider, kek_id FROM data_keys WHERE namespace_id <> $1 AND state <> 'destroyed'

-- name: add_kek
INSERT INTO shredded_keks (namespace_id, provider, kek_id, disposal) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: list_keks
SELECT provider, kek_id, disposal, state, deletion_at, request_id, error
FROM shredded_keks WHERE namespace_id = $1 ORDER BY provider, kek_id

-- name: note_kek
UPDATE shredded_keks SET state = $4, deletion_at = $5, request_id = $6, error = $7
WHERE namespace_id = $1 AND provider = $2 AND kek_id = $3

-- name: add_rows
UPDATE shreddings
SET rows_deleted = jsonb_set(rows_deleted, ARRAY[$2::text], to_jsonb(coalesce((rows_deleted ->> $2::text)::bigint, 0) + $3::bigint))
WHERE namespace_id = $1

-- name: note_documents
UPDATE shreddings SET documents = coalesce(documents, $2) WHERE namespace_id = $1

-- name: put_certificate
INSERT INTO erasure_certificates (namespace_id, issued_at, certificate) VALUES ($1, $2, $3)
ON CONFLICT (namespace_id) DO UPDATE SET issued_at = $2, certificate = $3

-- name: certificate
SELECT certificate FROM erasure_certificates WHERE namespace_id = $1

-- name: complete
UPDATE shreddings SET completed_at = $2 WHERE namespace_id = $1
