-- The schema in one piece, for reading. `strongroom schema apply` runs the migrations, not this file; a test compares the two.
-- It also creates the row-level-security policies (sql/schema/policies.sql) and the functions (sql/*/functions).
-- docs/reference/schema.md says what each column shows to someone without keys.

CREATE TABLE schema_version (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL
);

-- The cell (deployment) that this database belongs to. Its id is in the associated data of every sealed value.
CREATE TABLE cell (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    cell_id     uuid        NOT NULL,
    shard_count integer     NOT NULL CHECK (shard_count BETWEEN 1 AND 16384),
    created_at  timestamptz NOT NULL,
    distributed boolean     NOT NULL DEFAULT false, -- over a Citus cluster; each statement is then confined to one shard
    region      text        CHECK (region ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(region) <= 63) -- the region that the cell is bound to; NULL for none
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
    -- The layout of an epoch of the index, for class index only. The commitment covers it.
    layout        text        NOT NULL DEFAULT '',
    -- The state of the key before all keys of its namespace were disabled together. Enabling them restores it.
    disabled_from text        CHECK (disabled_from IN ('pending', 'active', 'decrypt_only')),
    withdrawn     boolean     NOT NULL DEFAULT false, -- the namespace is deleted, and not only scheduled for shredding
    PRIMARY KEY (namespace_id, class, version),
    CHECK ((state = 'destroyed') = (wrapped IS NULL)),
    CONSTRAINT data_keys_disabled_from CHECK (disabled_from IS NULL OR state = 'disabled')
);

CREATE UNIQUE INDEX data_keys_one_active ON data_keys (namespace_id, class) WHERE state = 'active';

-- The heads of the registry (kms/FORMAT.md section 6.6): an authentication code over all keys of a namespace, and over its shredding.
CREATE TABLE registry_heads (
    namespace_id uuid   PRIMARY KEY,
    version      bigint NOT NULL CHECK (version >= 1),
    shredding    bytea  NOT NULL CHECK (octet_length(shredding) = 32),
    mac          bytea  NOT NULL CHECK (octet_length(mac) = 32)
);

-- The sum of all heads, so that no namespace can be hidden or be put back as it was.
CREATE TABLE registry_summary (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL CHECK (version >= 1),
    nonce    bytea   NOT NULL CHECK (octet_length(nonce) = 16),
    total    bytea   NOT NULL CHECK (octet_length(total) = 32),
    mac      bytea   NOT NULL CHECK (octet_length(mac) = 32)
);

-- The newest change of each keyring file that makes KEKs (kms/DESIGN.md, "The local provider"). A copy without it is refused.
CREATE TABLE keyrings (
    provider   text        PRIMARY KEY,
    keyring_id uuid        NOT NULL,
    change     text        NOT NULL,
    changes    bigint      NOT NULL,
    changed_at timestamptz NOT NULL
);

-- name_token is a keyed token of the name under the cell's identity key, and NULL after the namespace was shredded.
CREATE TABLE namespaces (
    namespace_id uuid        PRIMARY KEY,
    name_token   bytea       CHECK (octet_length(name_token) = 16),
    version      bigint      NOT NULL,
    details      bytea,
    created_at   timestamptz NOT NULL,
    shredded_at  timestamptz,
    deleted_at   timestamptz, -- by the service; the keys are destroyed after a grace period
    -- The service's settings, which MetadataStore writes.
    notification_version bigint  NOT NULL DEFAULT 0,
    is_global            boolean NOT NULL DEFAULT false,
    data                 bytea,
    CHECK ((shredded_at IS NULL) = (name_token IS NOT NULL)),
    CHECK ((shredded_at IS NULL) = (details IS NOT NULL))
);

-- The name of a deleted namespace is free, although its keys and rows can still be restored.
CREATE UNIQUE INDEX namespaces_name_token ON namespaces (name_token) WHERE deleted_at IS NULL;

-- Scheduled shreddings and their progress. A row is deleted only when its shredding is cancelled.
CREATE TABLE shreddings (
    namespace_id uuid        PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    keep_kek     boolean     NOT NULL,
    confirmed_at timestamptz, -- the same transaction destroys the wrapped roots
    rows_deleted jsonb       NOT NULL DEFAULT '{}', -- by table, counted in the transaction that deletes them
    documents    bigint,     -- documents in the search index before they were deleted
    completed_at timestamptz, -- a certificate is stored, and every KEK is dealt with
    automatic    boolean     NOT NULL DEFAULT false -- confirmed by a background job when it is due
);

-- The KEKs that wrapped keys of a shredded namespace. New keys are never wrapped by a KEK that is deleted.
CREATE TABLE shredded_keks (
    namespace_id uuid        NOT NULL,
    provider     text        NOT NULL,
    kek_id       text        NOT NULL,
    disposal     text        NOT NULL CHECK (disposal IN ('delete', 'shared', 'kept')),
    state        text,
    deletion_at  timestamptz,
    request_id   text,
    error        text,
    PRIMARY KEY (namespace_id, provider, kek_id)
);

CREATE TABLE erasure_certificates (
    namespace_id uuid        PRIMARY KEY,
    issued_at    timestamptz NOT NULL,
    certificate  bytea       NOT NULL
);

-- A node is one batch of history events. A row with the same node_id and a higher txn_id supersedes it.
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
) WITH (
    toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1
); -- sealed bytes do not compress; a row that fits a page is read without a second look-up

CREATE TABLE history_tree (
    shard_id     integer NOT NULL,
    namespace_id uuid    NOT NULL,
    tree_id      uuid    NOT NULL,
    branch_id    uuid    NOT NULL,
    data         bytea   NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, tree_id, branch_id)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.1);

-- The newest visibility record of each run. It is the PostgreSQL index, and any other index can be rebuilt from it.
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
    h_workflow      bigint,
    h_run           bigint,
    h_type          bigint,
    h_status        bigint,
    h_queue         bigint,
    h_division      bigint,
    PRIMARY KEY (shard_id, namespace_id, id)
) WITH (
    toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02, autovacuum_analyze_threshold = 200
);

-- Without the id, which only orders runs that closed and started in the same seconds.
CREATE INDEX visibility_records_order ON visibility_records (namespace_id, b1, b2);
-- For counts of a span of StartTime. Partial, so that the default filter `TemporalNamespaceDivision IS NULL` reads no row.
CREATE INDEX visibility_records_start ON visibility_records (namespace_id, b2) WHERE h_division IS NULL;
CREATE INDEX visibility_records_tokens ON visibility_records USING gin (t);

-- A token occurs in one namespace only, so an index by token does not need the namespace.
CREATE INDEX visibility_records_workflow ON visibility_records (h_workflow) WHERE h_workflow IS NOT NULL;
CREATE INDEX visibility_records_run ON visibility_records (h_run) WHERE h_run IS NOT NULL;

-- Lists of the runs of a status. A run that closes leaves its entry here until the table is vacuumed, so it is vacuumed often: otherwise
-- a list of open runs would read the entries of a fifth of all runs.
CREATE INDEX visibility_records_status ON visibility_records (h_status, b1, b2) WHERE h_division IS NULL;

-- Equal keys are stored once, so a row takes six bytes of these indexes. Counts read nothing else.
CREATE INDEX visibility_records_type ON visibility_records (namespace_id, h_type, h_status) WHERE h_division IS NULL;
-- The queue comes first, so that no search without a queue uses this index. A table that was not analyzed yet has no statistics, and
-- PostgreSQL then took this index for a list of one status and read all runs of the namespace.
CREATE INDEX visibility_records_queue ON visibility_records (h_queue, namespace_id) WHERE h_division IS NULL;

-- The owner of a shard has its range_id. A write with an older range_id is refused. Sealed under the cell's keys. Writes compare range_mac
-- too, the MAC of range_id, because range_id can be edited. `macs` in other tables are the MACs of the columns before it.
CREATE TABLE shards (
    shard_id  integer PRIMARY KEY,
    range_id  bigint  NOT NULL,
    range_mac bytea   NOT NULL,
    data      bytea   NOT NULL
) WITH (fillfactor = 70);

-- A run's mutable state without its maps. workflow_id is a token in all tables.
CREATE TABLE executions (
    shard_id           integer NOT NULL,
    namespace_id       uuid    NOT NULL,
    workflow_id        bytea   NOT NULL CHECK (octet_length(workflow_id) = 16),
    run_id             uuid    NOT NULL,
    next_event_id      bigint  NOT NULL,
    last_write_version bigint  NOT NULL,
    db_record_version  bigint  NOT NULL,
    macs               bytea   NOT NULL,
    data               bytea   NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, workflow_id, run_id)
) WITH (
    fillfactor = 70, toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.05
);

-- Activities, timers, children, cancels, signals, requested signals, CHASM nodes and buffered events, one row for each.
CREATE TABLE execution_maps (
    shard_id     integer  NOT NULL,
    namespace_id uuid     NOT NULL,
    workflow_id  bytea    NOT NULL,
    run_id       uuid     NOT NULL,
    map          smallint NOT NULL CHECK (map BETWEEN 1 AND 8),
    item         bytea    NOT NULL CHECK (octet_length(item) IN (8, 16)),
    data         bytea    NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, workflow_id, run_id, map, item)
) WITH (
    fillfactor = 90, toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.05
);

CREATE TABLE current_executions (
    shard_id           integer  NOT NULL,
    namespace_id       uuid     NOT NULL,
    workflow_id        bytea    NOT NULL CHECK (octet_length(workflow_id) = 16),
    archetype_id       bigint   NOT NULL,
    run_id             uuid     NOT NULL,
    state              smallint NOT NULL,
    last_write_version bigint   NOT NULL,
    macs               bytea    NOT NULL,
    data               bytea    NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, workflow_id, archetype_id)
) WITH (
    fillfactor = 70, toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.05
);

-- Immediate categories have fire_time 0, so they are ordered by task_id.
CREATE TABLE history_tasks (
    shard_id     integer  NOT NULL,
    category_id  smallint NOT NULL,
    fire_time    bigint   NOT NULL,
    task_id      bigint   NOT NULL,
    namespace_id uuid     NOT NULL,
    data         bytea    NOT NULL,
    PRIMARY KEY (shard_id, category_id, fire_time, task_id)
) WITH (
    toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000
);

CREATE INDEX history_tasks_namespace ON history_tasks (namespace_id);

CREATE TABLE replication_dlq_tasks (
    shard_id            integer NOT NULL,
    source_cluster_name text    NOT NULL,
    task_id             bigint  NOT NULL,
    namespace_id        uuid    NOT NULL,
    data                bytea   NOT NULL,
    PRIMARY KEY (shard_id, source_cluster_name, task_id)
) WITH (toast_tuple_target = 8160);

-- Matching. task_queue_id and build_id are tokens. range_hash is a keyed hash of the queue, in place of a shard.
CREATE TABLE task_queues (
    range_hash    integer  NOT NULL,
    namespace_id  uuid     NOT NULL,
    task_queue_id bytea    NOT NULL CHECK (octet_length(task_queue_id) = 16),
    task_type     smallint NOT NULL,
    fair          boolean  NOT NULL,
    range_id      bigint   NOT NULL,
    range_mac     bytea    NOT NULL,
    data          bytea    NOT NULL,
    PRIMARY KEY (range_hash, namespace_id, task_queue_id, task_type, fair)
) WITH (fillfactor = 70, toast_tuple_target = 8160);

CREATE TABLE tasks (
    range_hash    integer  NOT NULL,
    namespace_id  uuid     NOT NULL,
    task_queue_id bytea    NOT NULL,
    task_type     smallint NOT NULL,
    fair          boolean  NOT NULL,
    pass          bigint   NOT NULL,
    task_id       bigint   NOT NULL,
    data          bytea    NOT NULL,
    PRIMARY KEY (range_hash, namespace_id, task_queue_id, task_type, fair, pass, task_id)
) WITH (
    toast_tuple_target = 8160,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000
);

CREATE TABLE task_queue_user_data (
    range_hash    integer NOT NULL,
    namespace_id  uuid    NOT NULL,
    task_queue_id bytea   NOT NULL CHECK (octet_length(task_queue_id) = 16),
    version       bigint  NOT NULL,
    data          bytea   NOT NULL,
    PRIMARY KEY (range_hash, namespace_id, task_queue_id)
) WITH (fillfactor = 90, toast_tuple_target = 8160);

CREATE TABLE build_id_to_task_queue (
    range_hash    integer NOT NULL,
    namespace_id  uuid    NOT NULL,
    build_id      bytea   NOT NULL CHECK (octet_length(build_id) = 16),
    task_queue_id bytea   NOT NULL CHECK (octet_length(task_queue_id) = 16),
    data          bytea   NOT NULL,
    PRIMARY KEY (range_hash, namespace_id, build_id, task_queue_id)
);

CREATE TABLE namespace_metadata (
    only_row             boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    notification_version bigint  NOT NULL
);

INSERT INTO namespace_metadata (notification_version) VALUES (1);

-- The operator's clusters and hosts. The settings are sealed under the cell's keys.
CREATE TABLE cluster_metadata (
    cluster_name text   PRIMARY KEY,
    version      bigint NOT NULL,
    data         bytea  NOT NULL
);

CREATE TABLE cluster_membership (
    host_id        bytea       PRIMARY KEY CHECK (octet_length(host_id) = 16),
    role           smallint    NOT NULL,
    rpc_address    text        NOT NULL,
    rpc_port       integer     NOT NULL,
    session_start  timestamptz NOT NULL,
    last_heartbeat timestamptz NOT NULL,
    record_expiry  timestamptz NOT NULL
);

-- The queue that replicates namespaces between clusters. Its dead-letter queue has the negative type.
CREATE TABLE queues (
    queue_type      integer PRIMARY KEY,
    next_message_id bigint  NOT NULL,
    version         bigint  NOT NULL,
    data            bytea   NOT NULL
) WITH (fillfactor = 70);

CREATE TABLE queue_messages (
    queue_type   integer NOT NULL,
    message_id   bigint  NOT NULL,
    namespace_id uuid    NOT NULL,
    data         bytea   NOT NULL,
    PRIMARY KEY (queue_type, message_id)
);

-- Named queues. queue_id is a token of the name under the cell's keys, and data holds the name.
CREATE TABLE queues_v2 (
    queue_type      integer NOT NULL,
    queue_id        bytea   NOT NULL CHECK (octet_length(queue_id) = 16),
    next_message_id bigint  NOT NULL,
    data            bytea   NOT NULL,
    PRIMARY KEY (queue_type, queue_id)
) WITH (fillfactor = 70);

CREATE TABLE queue_v2_messages (
    queue_type   integer NOT NULL,
    queue_id     bytea   NOT NULL,
    message_id   bigint  NOT NULL,
    namespace_id uuid    NOT NULL,
    data         bytea   NOT NULL,
    PRIMARY KEY (queue_type, queue_id, message_id)
) WITH (toast_tuple_target = 8160);

CREATE TABLE nexus_endpoints (
    id      uuid   PRIMARY KEY,
    version bigint NOT NULL,
    data    bytea  NOT NULL
);

CREATE TABLE nexus_endpoints_status (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL
);

INSERT INTO nexus_endpoints_status (version) VALUES (0);

-- Runs whose document may be older than their record. A run has one row, whose stamp is new after every change. A document that the
-- search index refuses alone has the number and the reason of the refusals, and is sent again from retry_at on.
CREATE TABLE visibility_outbox (
    shard_id     integer NOT NULL,
    namespace_id uuid    NOT NULL,
    id           bytea   NOT NULL CHECK (octet_length(id) = 16),
    stamp        uuid    NOT NULL DEFAULT gen_random_uuid(),
    refusals     integer NOT NULL DEFAULT 0,
    refusal      text    CHECK (length(refusal) <= 200),
    retry_at     timestamptz,
    PRIMARY KEY (shard_id, namespace_id, id)
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000
);

-- Runs whose record was deleted, so that a late write of an older version does not restore it.
CREATE TABLE visibility_deletes (
    shard_id     integer     NOT NULL,
    namespace_id uuid        NOT NULL,
    id           bytea       NOT NULL CHECK (octet_length(id) = 16),
    version      bigint      NOT NULL,
    deleted_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_id, namespace_id, id)
);

CREATE INDEX visibility_deletes_age ON visibility_deletes (deleted_at);

-- The counter of each process that writes to the search index. The index has the same counters, so a restored copy is noticed.
CREATE TABLE search_index_writers (
    writer  uuid   PRIMARY KEY,
    number  bigint NOT NULL CHECK (number >= 1),
    written bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 70);

-- The search index that is being built next to the one that answers searches, and the last record that was written to it.
CREATE TABLE search_index_builds (
    only_row           boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    build              uuid    NOT NULL,
    target             text    NOT NULL CHECK (length(target) <= 255),
    moving             boolean NOT NULL DEFAULT false,
    after_shard_id     integer,
    after_namespace_id uuid,
    after_id           bytea
);

-- The access policy of the cell. It is one sealed value, so that no part of it can be removed, restored or mixed.
CREATE TABLE access_policy (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL CHECK (version >= 1),
    data     bytea   NOT NULL
);

-- Signed positions of the audit logs. Rows are only added, and each has the hash of the row before it, so that a row that is
-- altered, removed or put back is noticed. They show which records are missing from the files.
CREATE TABLE audit_checkpoints (
    number         bigint      PRIMARY KEY CHECK (number >= 1),
    previous       bytea       NOT NULL CHECK (octet_length(previous) = 32),
    stream         uuid        NOT NULL,
    place          text        NOT NULL,
    sequence       bigint      NOT NULL CHECK (sequence >= 1),
    chain          bytea       NOT NULL CHECK (octet_length(chain) = 32),
    policy_version bigint      NOT NULL CHECK (policy_version >= 0),
    written_at     timestamptz NOT NULL,
    signature      bytea       NOT NULL CHECK (octet_length(signature) = 64)
);

-- Entries of writes that are not in the sums of their shard yet. `replaced` has images of rows, each after its length in two bytes.
CREATE TABLE journal (
    shard_id integer NOT NULL,
    writer   uuid    NOT NULL,
    number   bigint  NOT NULL CHECK (number >= 1),
    data     bytea   NOT NULL,
    replaced bytea   NOT NULL,
    PRIMARY KEY (shard_id, writer, number)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);

-- The sums of the live rows of each shard.
CREATE TABLE journal_sums (
    shard_id integer PRIMARY KEY,
    number   bigint  NOT NULL CHECK (number >= 1),
    data     bytea   NOT NULL
) WITH (fillfactor = 70);

-- A signed statement about the checkpoints that were deleted because newer ones replace them.
CREATE TABLE audit_compaction (
    only_row         boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    number           bigint      NOT NULL CHECK (number >= 1),
    hash             bytea       NOT NULL CHECK (octet_length(hash) = 32),
    kept             bytea       NOT NULL CHECK (octet_length(kept) = 32),
    policy_version   bigint      NOT NULL CHECK (policy_version >= 0),
    forgotten_before timestamptz NOT NULL,
    signature        bytea       NOT NULL CHECK (octet_length(signature) = 64)
);

-- Rows of queues that did not open, as they were found. Their queue goes on without them, and deletes them there.
CREATE TABLE damaged_rows (
    partition    integer     NOT NULL, -- the first column of the key in its table
    namespace_id uuid        NOT NULL,
    table_name   text        NOT NULL,
    key          text        NOT NULL, -- the other columns, as name=value
    reason       text        NOT NULL,
    found_at     timestamptz NOT NULL DEFAULT now(),
    data         bytea       NOT NULL,
    PRIMARY KEY (partition, namespace_id, table_name, key)
);

-- Sealed values do not compress, so PostgreSQL does not try. A value that fits a page stays in its row.
ALTER TABLE history_node ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE history_tree ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE visibility_records ALTER COLUMN s SET STORAGE MAIN;
ALTER TABLE shards ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE executions ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE execution_maps ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE current_executions ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE history_tasks ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE replication_dlq_tasks ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE task_queues ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE tasks ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE task_queue_user_data ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE cluster_metadata ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE queues ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE queue_messages ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE queue_v2_messages ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE nexus_endpoints ALTER COLUMN data SET STORAGE MAIN;
ALTER TABLE access_policy ALTER COLUMN data SET STORAGE MAIN;

-- For searches by token in a session that sees one namespace. PostgreSQL applies a policy before operators that are not leakproof, and
-- array operators are not, so the policy of the table would prevent the use of the token index. The view's condition is the same
-- restriction as an equation, which PostgreSQL checks once. It checks the mark of the session as the policies do (policies.sql).
CREATE VIEW visibility_search AS
SELECT * FROM visibility_records WHERE namespace_id = (SELECT CASE left(current_setting('strongroom.namespaces', true), 20)
    WHEN left(current_query(), 20) THEN
        CASE length(current_setting('strongroom.namespaces')) WHEN 56 THEN right(current_setting('strongroom.namespaces'), 36)::uuid END
    ELSE current_setting('strongroom.session_of_this_statement')::uuid END);
