-- What a search index outside the database has yet to be told. Empty where PostgreSQL answers searches itself.

-- Runs whose document may be older than their record; each once, however often it changed. The stamp is new with every change.
CREATE TABLE visibility_outbox (
    shard_id     integer NOT NULL,
    namespace_id uuid    NOT NULL,
    id           bytea   NOT NULL CHECK (octet_length(id) = 16),
    stamp        uuid    NOT NULL DEFAULT gen_random_uuid(),
    PRIMARY KEY (shard_id, namespace_id, id)
) WITH (fillfactor = 70);

-- Runs whose record was deleted: a write of an older version that comes late must not bring it back.
CREATE TABLE visibility_deletes (
    shard_id     integer     NOT NULL,
    namespace_id uuid        NOT NULL,
    id           bytea       NOT NULL CHECK (octet_length(id) = 16),
    version      bigint      NOT NULL,
    deleted_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_id, namespace_id, id)
);

-- What is left to do stands in the outbox: to mark a row as indexed would write all of its index entries anew.
ALTER TABLE visibility_records DROP COLUMN indexed_version;
