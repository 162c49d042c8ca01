-- Who may do what in the cell: the whole policy in one sealed value, so that no part of it can be taken out, put back or mixed.
CREATE TABLE access_policy (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    version  bigint  NOT NULL CHECK (version >= 1),
    data     bytea   NOT NULL
);
ALTER TABLE access_policy ALTER COLUMN data SET STORAGE MAIN;

-- How far each process's audit log was when it last signed: what is missing from the files since then can be named.
CREATE TABLE audit_checkpoints (
    stream     uuid        PRIMARY KEY,
    sequence   bigint      NOT NULL CHECK (sequence >= 1),
    chain      bytea       NOT NULL CHECK (octet_length(chain) = 32),
    signature  bytea       NOT NULL CHECK (octet_length(signature) = 64),
    written_at timestamptz NOT NULL
);
