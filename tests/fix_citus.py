"""Stand-ins for Citus: the catalogues and functions that we use of it, with its names and signatures. No Citus runs in any test.

They refuse what does not exist, or what Citus is known to refuse, and note what was asked of them; rows stay where they are.
"""

from __future__ import annotations

import asyncpg
import pytest

STAND_INS = """
    SET LOCAL allow_system_table_mods = on;
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (4000000000, 'citus', 10, 'pg_catalog'::regnamespace, false, 'stand-in');
    CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass PRIMARY KEY);
    CREATE TABLE pg_catalog.pg_dist_object (classid oid, objid oid PRIMARY KEY, distribution_argument_index integer);
    CREATE TABLE public.broken (name text);  -- what a call about this says is an error

    CREATE FUNCTION pg_catalog.create_reference_table(table_name regclass) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO pg_dist_partition VALUES (table_name);
    END $$;

    CREATE FUNCTION pg_catalog.create_distributed_table(
        table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash',
        colocate_with text DEFAULT 'default', shard_count integer DEFAULT NULL
    ) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE
        place smallint;
    BEGIN
        SELECT attnum INTO place FROM pg_attribute
        WHERE attrelid = table_name AND attname = distribution_column AND atttypid = 'integer'::regtype;
        IF place IS NULL THEN RAISE 'no integer column % in %', distribution_column, table_name; END IF;
        IF EXISTS (SELECT FROM pg_index WHERE indrelid = table_name AND indisunique AND place <> ALL (indkey::smallint[])) THEN
            RAISE 'a unique index of % lacks %', table_name, distribution_column;
        END IF;
        IF colocate_with <> 'none' AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass) THEN
            RAISE '% is not distributed', colocate_with;
        END IF;
        IF table_name::text IN (SELECT name FROM public.broken) THEN RAISE 'a node is gone'; END IF;
        INSERT INTO pg_dist_partition VALUES (table_name);
    END $$;

    CREATE FUNCTION pg_catalog.truncate_local_data_after_distributing_table(function_name regclass) RETURNS void
    LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM FROM pg_dist_partition WHERE logicalrelid = function_name;
        IF NOT FOUND THEN RAISE 'supplied parameter is not a distributed relation'; END IF;
    END $$;

    CREATE FUNCTION pg_catalog.create_distributed_function(
        function_name regprocedure, distribution_arg_name text DEFAULT NULL, colocate_with text DEFAULT 'default',
        force_delegation boolean DEFAULT NULL
    ) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM FROM pg_proc
        WHERE oid = function_name AND proargnames[1] = distribution_arg_name AND proargtypes[0] = 'integer'::regtype;
        IF NOT FOUND THEN RAISE 'the first argument of % is not %', function_name, distribution_arg_name; END IF;
        PERFORM FROM pg_dist_partition WHERE logicalrelid = colocate_with::regclass;
        IF NOT FOUND THEN RAISE '% is not distributed', colocate_with; END IF;
        IF EXISTS (SELECT FROM pg_dist_partition WHERE xmin = pg_current_xact_id()::xid) THEN
            RAISE 'cannot run function command because there was a parallel operation on a distributed table in the transaction';
        END IF;
        UPDATE pg_dist_object SET distribution_argument_index = 0 WHERE objid = function_name;
    END $$;

    -- Citus sends each new function to all nodes by itself, and notes it without an argument.
    CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO pg_dist_object SELECT classid, objid, NULL FROM pg_event_trigger_ddl_commands() ON CONFLICT DO NOTHING;
    END $$;
    CREATE EVENT TRIGGER note ON ddl_command_end WHEN TAG IN ('CREATE FUNCTION') EXECUTE FUNCTION public.note();
"""


async def install_stand_ins(dsn):
    """Let a database pass for the coordinator of a cluster."""
    connection = await asyncpg.connect(dsn)
    async with connection.transaction():
        await connection.execute(STAND_INS)
    await connection.close()


@pytest.fixture
async def stand_ins(owners_cell):
    """A cell of the test's own on a server that takes the stand-ins for Citus."""
    await install_stand_ins(owners_cell.config.dsn)
    return owners_cell
