-- name: begin
INSERT INTO search_index_writers (writer, number) VALUES ($1, 1)
RETURNING (SELECT target FROM search_index_builds) AS target, (SELECT build FROM search_index_builds) AS build

-- name: advance
-- A counter that is not as its process left it is of a restored database. It stays as it is, so that the restore is noticed.
UPDATE search_index_writers SET number = number + 1 WHERE writer = $1 AND number = $2
RETURNING (SELECT target FROM search_index_builds) AS target, (SELECT build FROM search_index_builds) AS build

-- name: confirm
UPDATE search_index_writers SET written = greatest(written, $2) WHERE writer = $1

-- name: all
SELECT writer, number, written FROM search_index_writers

-- name: forget
DELETE FROM search_index_writers AS w
USING unnest($1::uuid[], $2::bigint[]) AS f (writer, number) WHERE w.writer = f.writer AND w.number = f.number
