-- name: delete
-- $5, $6 and $7: the entry of the journal. `replaced` has the row's image (kms/FORMAT.md section 7.7) after its length.
-- Returns the digest of `replaced`; NULL for nothing.
WITH deleted AS (
    DELETE FROM executions WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND run_id = $4
    RETURNING '\x004101'::bytea || uuid_send(namespace_id) || workflow_id || uuid_send(run_id)
              || substr(data, octet_length(data) - 15) AS image
), maps AS (
    DELETE FROM execution_maps WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND run_id = $4
)
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT $1, $5, $6, $7, coalesce(string_agg(image, ''), '') FROM deleted -- at most one; Citus accepts no sub-select in VALUES
RETURNING sha256(nullif(replaced, '')) AS digest

-- name: delete_current
-- Deletes the row if it is this run's by its run_id and by its MAC ($6: the two that it may have). Returns a row if it did, with the entry
-- of the journal ($7, $8 and $9).
WITH deleted AS (
    DELETE FROM current_executions
    WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND archetype_id = $5
      AND run_id = $4 AND substr(macs, 1, 16) = ANY ($6::bytea[])
    RETURNING '\x003902'::bytea || uuid_send(namespace_id) || workflow_id || int8send(archetype_id)
              || substr(data, octet_length(data) - 15) AS image
)
INSERT INTO journal (shard_id, writer, number, data, replaced) SELECT $1, $7, $8, $9, image FROM deleted RETURNING sha256(replaced) AS digest

-- name: current
-- Whether the row is this run's by its run_id, and by its MAC.
SELECT run_id = $4 AS fits, substr(macs, 1, 16) = ANY ($6::bytea[]) AS authentic FROM current_executions
WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND archetype_id = $5
