-- name: add
INSERT INTO shredded_keks (namespace_id, provider, kek_id, disposal) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: list
SELECT provider, kek_id, disposal, state, deletion_at, request_id, error
FROM shredded_keks WHERE namespace_id = $1 ORDER BY provider, kek_id

-- name: record_answer
UPDATE shredded_keks SET state = $4, deletion_at = $5, request_id = $6, error = $7
WHERE namespace_id = $1 AND provider = $2 AND kek_id = $3
