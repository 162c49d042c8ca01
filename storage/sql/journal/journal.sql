-- name: sums
SELECT number, data FROM journal_sums WHERE shard_id = $1

-- name: numbers
SELECT shard_id, number FROM journal_sums

-- name: sums_of
SELECT shard_id, number, data FROM journal_sums WHERE shard_id = ANY ($1::integer[])

-- name: lock_sums
SELECT number, data FROM journal_sums WHERE shard_id = $1 FOR UPDATE

-- name: lock_sums_of
SELECT shard_id, number, data FROM journal_sums WHERE shard_id = ANY ($1::integer[]) ORDER BY shard_id FOR UPDATE

-- name: entries
-- The oldest entries of each writer, so that a limited page has no gap of its own, and no writer keeps others from being folded.
SELECT e.writer, e.number, e.data, e.replaced
FROM (SELECT DISTINCT writer FROM journal WHERE shard_id = $1) AS w,
     LATERAL (SELECT * FROM journal AS j WHERE j.shard_id = $1 AND j.writer = w.writer ORDER BY j.number LIMIT $2) AS e

-- name: entries_of
SELECT s.shard_id, e.writer, e.number, e.data, e.replaced
FROM unnest($1::integer[]) AS s (shard_id),
     LATERAL (SELECT DISTINCT j.writer FROM journal AS j WHERE j.shard_id = s.shard_id) AS w,
     LATERAL (SELECT * FROM journal AS j WHERE j.shard_id = s.shard_id AND j.writer = w.writer ORDER BY j.number LIMIT $2) AS e

-- name: entry
SELECT number FROM journal WHERE shard_id = $1 AND writer = $2 AND number = $3

-- name: write
INSERT INTO journal (shard_id, writer, number, data, replaced)
SELECT j.shard_id, $1, j.number, j.data, '' FROM unnest($2::integer[], $3::bigint[], $4::bytea[]) AS j (shard_id, number, data)

-- name: put_sums
-- Compare and set: sums are replaced only by their successor.
INSERT INTO journal_sums AS s (shard_id, number, data) VALUES ($1, $2, $3)
ON CONFLICT (shard_id) DO UPDATE SET number = excluded.number, data = excluded.data WHERE s.number = excluded.number - 1
RETURNING number

-- name: put_sums_of
INSERT INTO journal_sums AS s (shard_id, number, data)
SELECT n.shard_id, n.number, n.data FROM unnest($1::integer[], $2::bigint[], $3::bytea[]) AS n (shard_id, number, data)
ON CONFLICT (shard_id) DO UPDATE SET number = excluded.number, data = excluded.data WHERE s.number = excluded.number - 1
RETURNING shard_id

-- name: delete_entries
DELETE FROM journal AS j USING unnest($2::uuid[], $3::bigint[]) AS f (writer, number)
WHERE j.shard_id = $1 AND j.writer = f.writer AND j.number = f.number

-- name: delete_entries_of
DELETE FROM journal AS j USING unnest($1::integer[], $2::uuid[], $3::bigint[]) AS f (shard_id, writer, number)
WHERE j.shard_id = f.shard_id AND j.writer = f.writer AND j.number = f.number

-- name: stop_writes
-- Waits for the writes in flight. No write of the journal begins until the transaction ends.
LOCK TABLE journal IN EXCLUSIVE MODE

-- name: delete_all_entries
DELETE FROM journal WHERE shard_id = $1

-- name: replace_sums
INSERT INTO journal_sums (shard_id, number, data) VALUES ($1, $2, $3)
ON CONFLICT (shard_id) DO UPDATE SET number = excluded.number, data = excluded.data

-- name: with_entries
SELECT DISTINCT shard_id FROM journal

-- name: waiting
SELECT count(*) AS count FROM journal

-- name: writing
-- The transactions that have inserted an entry, or are about to. A statement locks its tables before its snapshot.
SELECT virtualtransaction AS transaction FROM pg_locks
WHERE locktype = 'relation' AND relation = 'strongroom.journal'::regclass AND mode = 'RowExclusiveLock'
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid IS DISTINCT FROM pg_backend_pid()

-- name: writing_on_nodes
-- The same on a Citus cluster, where a transaction locks the table on the node that its function runs on. A node that does not answer
-- counts as a transaction.
SELECT n.nodeid || coalesce(' ' || t.transaction, '') AS transaction
FROM run_command_on_all_nodes($$
    SELECT string_agg(virtualtransaction, ' ') FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'strongroom.journal'::regclass AND mode = 'RowExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid IS DISTINCT FROM pg_backend_pid()
$$) AS n
LEFT JOIN LATERAL unnest(string_to_array(CASE WHEN n.success THEN n.result END, ' ')) AS t (transaction) ON true
WHERE NOT n.success OR t.transaction <> ''
