-- name: add
-- Rows are only added, and their numbers have no gap. A row is returned if it was added.
INSERT INTO audit_checkpoints (number, previous, stream, place, sequence, chain, policy_version, written_at, signature)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9 WHERE NOT EXISTS (SELECT FROM audit_checkpoints WHERE number >= $1)
ON CONFLICT (number) DO NOTHING RETURNING number

-- name: list
SELECT number, previous, stream, place, sequence, chain, policy_version, written_at, signature FROM audit_checkpoints ORDER BY number

-- name: recent
-- The newest row, the newest row of one stream, and one row by its number.
SELECT number, previous, stream, place, sequence, chain, policy_version, written_at, signature FROM audit_checkpoints
WHERE number IN ((SELECT max(number) FROM audit_checkpoints), (SELECT max(number) FROM audit_checkpoints WHERE stream = $1), $2)
ORDER BY number

-- name: compaction
SELECT number, hash, kept, policy_version, forgotten_before, signature FROM audit_compaction

-- name: compact
-- Nothing is written if another process compacted the rows since they were read.
INSERT INTO audit_compaction (number, hash, kept, policy_version, forgotten_before, signature) SELECT $1, $2, $3, $4, $5, $6
WHERE coalesce((SELECT max(number) FROM audit_compaction), 0) = $7
ON CONFLICT (only_row) DO UPDATE SET
    number = EXCLUDED.number, hash = EXCLUDED.hash, kept = EXCLUDED.kept, policy_version = EXCLUDED.policy_version,
    forgotten_before = EXCLUDED.forgotten_before, signature = EXCLUDED.signature
WHERE audit_compaction.number = $7
RETURNING number

-- name: delete
DELETE FROM audit_checkpoints WHERE number = ANY($1::bigint[])
