-- name: delete
WITH deleted AS (
    DELETE FROM executions WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND run_id = $4
)
DELETE FROM execution_maps WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND run_id = $4

-- name: delete_current
-- Returns whether the row is this run's by its run_id, and by its MAC ($6: the two that it may have). It is deleted if both are true.
WITH found AS (
    SELECT run_id = $4 AS fits, substr(macs, 1, 16) = ANY ($6::bytea[]) AS authentic FROM current_executions
    WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND archetype_id = $5 FOR UPDATE
), deleted AS (
    DELETE FROM current_executions
    WHERE shard_id = $1 AND namespace_id = $2 AND workflow_id = $3 AND archetype_id = $5
      AND (SELECT fits AND authentic FROM found)
)
SELECT fits, authentic FROM found
