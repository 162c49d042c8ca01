-- name: put
-- A late write of an older checkpoint changes nothing.
INSERT INTO audit_checkpoints (stream, sequence, chain, signature, written_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (stream) DO UPDATE SET
    sequence = EXCLUDED.sequence, chain = EXCLUDED.chain, signature = EXCLUDED.signature, written_at = EXCLUDED.written_at
WHERE audit_checkpoints.sequence < EXCLUDED.sequence

-- name: list
SELECT stream, sequence, chain, signature, written_at FROM audit_checkpoints ORDER BY stream

