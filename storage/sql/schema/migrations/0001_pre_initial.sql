-- The first schema. What each column shows to someone without keys stands in storage/DESIGN.md; a test compares it with the catalogue.

-- The cell (deployment) that this database belongs to. Its id is in the associated data of every sealed value.
CREATE TABLE cell (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    cell_id     uuid        NOT NULL,
    shard_count integer     NOT NULL CHECK (shard_count BETWEEN 1 AND 16384),
    created_at  timestamptz NOT NULL
);

-- The registry of data keys (kms/FORMAT.md section 6). Rows are never deleted: a version is never used again.
CREATE TABLE data_keys (
    namespace_id  uuid        NOT NULL,
    class         text        NOT NULL CHECK (class IN ('data', 'index', 'identity')),
    version       bigint      NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    suite         smallint    NOT NULL,
    state         text        NOT NULL CHECK (state IN ('pending', 'active', 'decrypt_only', 'disabled', 'destroyed')),
    provider      text        NOT NULL,
    kek_id        text        NOT NULL,
    kek_version   text        NOT NULL,
    wrapped       bytea       CHECK (octet_length(wrapped) <= 4096),
    commitment    bytea       NOT NULL CHECK (octet_length(commitment) = 32),
    record_lease  bigint      NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL,
    destroyed_at  timestamptz,
    PRIMARY KEY (namespace_id, class, version),
    CHECK ((state = 'destroyed') = (wrapped IS NULL))
);

CREATE UNIQUE INDEX data_keys_one_active ON data_keys (namespace_id, class) WHERE state = 'active';

-- name_token is a keyed token of the name under the cell's own identity key; NULL once the namespace is shredded.
CREATE TABLE namespaces (
    namespace_id uuid        PRIMARY KEY,
    name_token   bytea       UNIQUE CHECK (octet_length(name_token) = 16),
    version      bigint      NOT NULL,
    details      bytea,
    created_at   timestamptz NOT NULL,
    shredded_at  timestamptz,
    CHECK ((shredded_at IS NULL) = (name_token IS NOT NULL)),
    CHECK ((shredded_at IS NULL) = (details IS NOT NULL))
);

-- A node is one batch of history events; an equal node_id with a higher txn_id shadows it.
CREATE TABLE history_node (
    shard_id     integer NOT NULL,
    namespace_id uuid    NOT NULL,
    tree_id      uuid    NOT NULL,
    branch_id    uuid    NOT NULL,
    node_id      bigint  NOT NULL,
    txn_id       bigint  NOT NULL,
    prev_txn_id  bigint  NOT NULL,
    data         bytea   NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, tree_id, branch_id, node_id, txn_id)
) WITH (toast_tuple_target = 8160); -- sealed bytes do not compress; up to a page they are read without a second look-up

CREATE TABLE history_tree (
    shard_id     integer NOT NULL,
    namespace_id uuid    NOT NULL,
    tree_id      uuid    NOT NULL,
    branch_id    uuid    NOT NULL,
    data         bytea   NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, tree_id, branch_id)
);

-- The newest sealed visibility record of each run: the truth that any index can be rebuilt from, and the PostgreSQL index itself.
CREATE TABLE visibility_records (
    shard_id        integer  NOT NULL,
    namespace_id    uuid     NOT NULL,
    id              bytea    NOT NULL CHECK (octet_length(id) = 16),
    version         bigint   NOT NULL,
    k               integer  NOT NULL,
    b1              bigint   NOT NULL,
    b2              bigint   NOT NULL,
    t               bigint[] NOT NULL,
    s               bytea    NOT NULL,
    indexed_version bigint   NOT NULL DEFAULT 0,
    PRIMARY KEY (shard_id, namespace_id, id)
) WITH (toast_tuple_target = 8160);

CREATE INDEX visibility_records_order ON visibility_records (namespace_id, b1 DESC, b2 DESC, id DESC);
CREATE INDEX visibility_records_tokens ON visibility_records USING gin (t);

-- Sealed values do not compress, so PostgreSQL need not try; and up to a page they stay in their row. Here, as 15 does not take it above.
ALTER TABLE history_node ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE history_tree ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE visibility_records ALTER COLUMN s SET STORAGE MAIN;
