-- The state that a key had before all keys of its namespace were disabled together; it comes back with it.
ALTER TABLE data_keys
    ADD COLUMN disabled_from text CHECK (disabled_from IN ('pending', 'active', 'decrypt_only')),
    ADD CONSTRAINT data_keys_disabled_from CHECK (disabled_from IS NULL OR state = 'disabled');

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
