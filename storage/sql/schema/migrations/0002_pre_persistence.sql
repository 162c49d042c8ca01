-- Every store of a workflow service. storage/DESIGN.md says what each column shows; the shard, or what stands for it, comes first in each key.

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

-- What MetadataStore keeps of a namespace beside its name and search attributes.
ALTER TABLE namespaces
    ADD COLUMN notification_version bigint  NOT NULL DEFAULT 0,
    ADD COLUMN is_global            boolean NOT NULL DEFAULT false,
    ADD COLUMN data                 bytea;

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

-- Whether the tables are spread over a Citus cluster: statements are then confined to one shard each.
ALTER TABLE cell ADD COLUMN distributed boolean NOT NULL DEFAULT false;

-- Sealed values do not compress, so PostgreSQL need not try; and up to a page they stay in their row. Here, as 15 does not take it above.
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
