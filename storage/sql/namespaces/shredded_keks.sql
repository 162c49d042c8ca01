-- name: of_namespace
SELECT DISTINCT provider, kek_id FROM data_keys WHERE namespace_id = $1 ORDER BY provider, kek_id

-- name: dispositions
-- A KEK is deleted if it wraps no other key that is not destroyed, including the cell's keys.
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

-- name: of_others
SELECT DISTINCT provider, kek_id FROM data_keys WHERE namespace_id <> $1 AND state <> 'destroyed'

-- name: add
INSERT INTO shredded_keks (namespace_id, provider, kek_id, disposal) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING

-- name: list
SELECT provider, kek_id, disposal, state, deletion_at, request_id, error
FROM shredded_keks WHERE namespace_id = $1 ORDER BY provider, kek_id

-- name: record_answer
UPDATE shredded_keks SET state = $4, deletion_at = $5, request_id = $6, error = $7
WHERE namespace_id = $1 AND provider = $2 AND kek_id = $3
