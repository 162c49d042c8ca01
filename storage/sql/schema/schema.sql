-- The schema as it is once all migrations are run, for who wants to read it in one piece: a test compares the two.
-- `strongroom schema apply` runs the migrations, not this file. The functions are in sql/functions/.
-- What each column shows to someone without keys stands in DESIGN.md.

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
    distributed boolean     NOT NULL DEFAULT false, -- over a Citus cluster: statements are then confined to one shard each
    region      text        CHECK (region ~ '^[a-z0-9]+(-[a-z0-9]+)*$' AND length(region) <= 63) -- that it is bound to; NULL for none
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
    -- What documents of an epoch of the index hold: class index only, and bound by the commitment. Empty for the first layout.
    layout        text        NOT NULL DEFAULT '',
    -- The state that it had before all keys of its namespace were disabled together; it comes back with it.
    disabled_from text        CHECK (disabled_from IN ('pending', 'active', 'decrypt_only')),
    PRIMARY KEY (namespace_id, class, version),
    CHECK ((state = 'destroyed') = (wrapped IS NULL)),
    CONSTRAINT data_keys_disabled_from CHECK (disabled_from IS NULL OR state = 'disabled')
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
    -- What MetadataStore keeps of a namespace beside its name and search attributes.
    notification_version bigint  NOT NULL DEFAULT 0,
    is_global            boolean NOT NULL DEFAULT false,
    data                 bytea,
    CHECK ((shredded_at IS NULL) = (name_token IS NOT NULL)),
    CHECK ((shredded_at IS NULL) = (details IS NOT NULL))
);

-- Shreddings that were asked for, and how far they are. A row goes only where one is taken back.
CREATE TABLE shreddings (
    namespace_id uuid        PRIMARY KEY,
    requested_at timestamptz NOT NULL,
    due_at       timestamptz NOT NULL,
    keep_kek     boolean     NOT NULL,
    confirmed_at timestamptz, -- roots destroyed, in the same transaction
    rows_deleted jsonb       NOT NULL DEFAULT '{}', -- by table; each chunk is counted in the transaction that deletes it
    documents    bigint,     -- found in the search index before they were deleted
    completed_at timestamptz -- a certificate is there, and nothing is left to ask of a KMS
);

-- KEKs that wrapped keys of a shredded namespace. One that is deleted is never used for new keys: another process could be about to.
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
    h_workflow      bigint,
    h_run           bigint,
    h_type          bigint,
    h_status        bigint,
    h_queue         bigint,
    h_division      bigint,
    PRIMARY KEY (shard_id, namespace_id, id)
) WITH (toast_tuple_target = 8160);

-- Without the id, which only tells apart what closed and started in the same seconds.
CREATE INDEX visibility_records_order ON visibility_records (namespace_id, b1, b2);
-- By the second of the start, for counts of a span of StartTime.
CREATE INDEX visibility_records_start ON visibility_records (namespace_id, b2) WHERE h_division IS NULL;
CREATE INDEX visibility_records_tokens ON visibility_records USING gin (t);

-- A token occurs in one namespace alone, so the namespace need not be in the key of what is looked up by one.
CREATE INDEX visibility_records_workflow ON visibility_records (h_workflow) WHERE h_workflow IS NOT NULL;
CREATE INDEX visibility_records_run ON visibility_records (h_run) WHERE h_run IS NOT NULL;

-- Equal keys are stored once: a row takes six bytes of these. Counts read nothing else.
CREATE INDEX visibility_records_type ON visibility_records (namespace_id, h_type, h_status) WHERE h_division IS NULL;
CREATE INDEX visibility_records_queue ON visibility_records (namespace_id, h_queue) WHERE h_division IS NULL;

-- The owner of a shard holds its range_id; whoever writes with an older one is refused. Sealed under the cell's keys.
CREATE TABLE shards (
    shard_id integer PRIMARY KEY,
    range_id bigint  NOT NULL,
    data     bytea   NOT NULL
) WITH (fillfactor = 70);

-- A run's mutable state but for its maps. workflow_id is a token in all tables.
CREATE TABLE executions (
    shard_id           integer NOT NULL,
    namespace_id       uuid    NOT NULL,
    workflow_id        bytea   NOT NULL CHECK (octet_length(workflow_id) = 16),
    run_id             uuid    NOT NULL,
    next_event_id      bigint  NOT NULL,
    last_write_version bigint  NOT NULL,
    db_record_version  bigint  NOT NULL,
    data               bytea   NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, workflow_id, run_id)
) WITH (fillfactor = 70, toast_tuple_target = 8160);

-- Activities, timers, children, cancels, signals, requested signals, CHASM nodes and buffered events: one row each.
CREATE TABLE execution_maps (
    shard_id     integer  NOT NULL,
    namespace_id uuid     NOT NULL,
    workflow_id  bytea    NOT NULL,
    run_id       uuid     NOT NULL,
    map          smallint NOT NULL CHECK (map BETWEEN 1 AND 8),
    item         bytea    NOT NULL CHECK (octet_length(item) IN (8, 16)),
    data         bytea    NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, workflow_id, run_id, map, item)
) WITH (fillfactor = 90, toast_tuple_target = 8160);

CREATE TABLE current_executions (
    shard_id           integer  NOT NULL,
    namespace_id       uuid     NOT NULL,
    workflow_id        bytea    NOT NULL CHECK (octet_length(workflow_id) = 16),
    archetype_id       bigint   NOT NULL,
    run_id             uuid     NOT NULL,
    state              smallint NOT NULL,
    last_write_version bigint   NOT NULL,
    data               bytea    NOT NULL,
    PRIMARY KEY (shard_id, namespace_id, workflow_id, archetype_id)
) WITH (fillfactor = 70, toast_tuple_target = 8160);

-- Immediate categories have fire_time 0 and are ordered by task_id alone.
CREATE TABLE history_tasks (
    shard_id     integer  NOT NULL,
    category_id  smallint NOT NULL,
    fire_time    bigint   NOT NULL,
    task_id      bigint   NOT NULL,
    namespace_id uuid     NOT NULL,
    data         bytea    NOT NULL,
    PRIMARY KEY (shard_id, category_id, fire_time, task_id)
) WITH (toast_tuple_target = 8160);

CREATE INDEX history_tasks_namespace ON history_tasks (namespace_id);

CREATE TABLE replication_dlq_tasks (
    shard_id            integer NOT NULL,
    source_cluster_name text    NOT NULL,
    task_id             bigint  NOT NULL,
    namespace_id        uuid    NOT NULL,
    data                bytea   NOT NULL,
    PRIMARY KEY (shard_id, source_cluster_name, task_id)
) WITH (toast_tuple_target = 8160);

-- Matching. task_queue_id and build_id are tokens; range_hash is a keyed hash of the queue, and stands for the shard.
CREATE TABLE task_queues (
    range_hash    integer  NOT NULL,
    namespace_id  uuid     NOT NULL,
    task_queue_id bytea    NOT NULL CHECK (octet_length(task_queue_id) = 16),
    task_type     smallint NOT NULL,
    fair          boolean  NOT NULL,
    range_id      bigint   NOT NULL,
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
) WITH (toast_tuple_target = 8160);

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

-- The operator's clusters and hosts; details are sealed under the cell's keys.
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

-- Queue: the replication of namespaces between clusters. Its dead letters are the queue of the negative type.
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

-- QueueV2: named queues. queue_id is a token of the name under the cell's keys; data holds the name.
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

-- Who may do what in the cell: the whole policy in one sealed value, so that no part of it can be taken out, put back or mixed.
CREATE TABLE access_policy (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL CHECK (version >= 1),
    data     bytea   NOT NULL
);

-- How far each process's audit log was when it last signed: what is missing from the files since then can be named.
CREATE TABLE audit_checkpoints (
    stream     uuid        PRIMARY KEY,
    sequence   bigint      NOT NULL CHECK (sequence >= 1),
    chain      bytea       NOT NULL CHECK (octet_length(chain) = 32),
    signature  bytea       NOT NULL CHECK (octet_length(signature) = 64),
    written_at timestamptz NOT NULL
);

-- Sealed values do not compress, so PostgreSQL need not try; and up to a page they stay in their row.
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

-- Row-level security on each table that says whose its rows are: a session sees and writes those of the namespaces that it was told of.
-- An owner of the tables is not bound by it. DESIGN.md, "The second wall".
DO $$
DECLARE
    -- Each sub-select is evaluated once a statement; the first is for the most frequent case, of one namespace, and compares cheaply.
    -- Not set, or empty: nothing is seen.
    seen CONSTANT text := $policy$
        namespace_id = (SELECT CASE length(current_setting('strongroom.namespaces', true))
                               WHEN 36 THEN current_setting('strongroom.namespaces', true)::uuid END)
        OR (SELECT current_setting('strongroom.namespaces', true) = '*')
        OR namespace_id = ANY ((SELECT string_to_array(nullif(current_setting('strongroom.namespaces', true), '*'), ',')::uuid[])::uuid[])
    $policy$;
    walled text;
BEGIN
    FOREACH walled IN ARRAY ARRAY[
        'data_keys', 'namespaces', 'shreddings', 'shredded_keks', 'erasure_certificates',
        'history_node', 'history_tree', 'executions', 'execution_maps', 'current_executions', 'history_tasks', 'replication_dlq_tasks',
        'task_queues', 'tasks', 'task_queue_user_data', 'build_id_to_task_queue', 'queue_messages', 'queue_v2_messages',
        'visibility_records', 'visibility_outbox', 'visibility_deletes'
    ] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', walled);
        EXECUTE format('CREATE POLICY namespaces ON %I USING (%s)', walled, seen);
    END LOOP;
END
$$;

-- What is searched by tokens, for a session that sees one namespace: PostgreSQL does not look into an index of arrays before it has
-- applied a policy, as their operators are not leakproof. A view's condition is the same wall without that order, and being an equation
-- with what the statement asks for it is checked once.
CREATE VIEW visibility_search AS
SELECT * FROM visibility_records WHERE namespace_id = (SELECT nullif(current_setting('strongroom.namespaces', true), '')::uuid);
