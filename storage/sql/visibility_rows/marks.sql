-- name: begin
INSERT INTO search_index_writers (writer, number) VALUES ($1, 1)
RETURNING (SELECT target FROM search_index_builds) AS target, (SELECT build FROM search_index_builds) AS build

-- name: advance
-- If the counter is not the last one of its process, the database was restored. It is not changed then, so that the restore is noticed.
UPDATE search_index_writers SET number = number + 1 WHERE writer = $1 AND number = $2
RETURNING (SELECT target FROM search_index_builds) AS target, (SELECT build FROM search_index_builds) AS build

-- name: confirm
UPDATE search_index_writers SET written = greatest(written, $2) WHERE writer = $1

-- name: all
SELECT writer, number, written FROM search_index_writers

-- name: forget
DELETE FROM search_index_writers AS w
USING unnest($1::uuid[], $2::bigint[]) AS f (writer, number) WHERE w.writer = f.writer AND w.number = f.number
