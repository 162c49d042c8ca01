"""Faults of a server: some last for a block, and others interrupt waiting statements."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from tests.support.faults.server_bench import HOST


def altered(there, back):
    """Move a part of the schema away for a while."""

    @asynccontextmanager
    async def fault(bench):
        await bench.admin.execute(f"ALTER {there}")
        try:
            yield
        finally:
            await bench.admin.execute(f"ALTER {back}")

    return fault


no_table = altered("TABLE shards RENAME TO elsewhere", "TABLE elsewhere RENAME TO shards")
no_column = altered("TABLE tasks RENAME COLUMN data TO elsewhere", "TABLE tasks RENAME COLUMN elsewhere TO data")
no_schema = altered("SCHEMA strongroom RENAME TO elsewhere", "SCHEMA elsewhere RENAME TO strongroom")


@asynccontextmanager
async def no_function(bench):
    """Rename the append function, so that the version that the host calls is missing."""
    query = "SELECT proname FROM pg_proc WHERE proname LIKE 'append_history_nodes%'"
    name = await bench.admin.fetchval(query)
    await bench.admin.execute(f"ALTER FUNCTION {name} RENAME TO elsewhere")
    try:
        yield
    finally:
        await bench.admin.execute(f"ALTER FUNCTION elsewhere RENAME TO {name}")


def read_only(bench):
    """Make sessions read-only, as an operator does who wants no more writes."""
    return bench.database_set("default_transaction_read_only = on")


@asynccontextmanager
async def forbidden(bench):
    """Let the host's user only read."""
    await bench.admin.execute(f"REVOKE pg_write_all_data FROM {HOST}")
    try:
        yield
    finally:
        await bench.admin.execute(f"GRANT pg_write_all_data TO {HOST}")


@asynccontextmanager
async def no_login(bench):
    """Forbid the host's user to log in."""
    await bench.admin.execute(f"ALTER ROLE {HOST} NOLOGIN")
    await bench.hang_up()
    try:
        yield
    finally:
        await bench.admin.execute(f"ALTER ROLE {HOST} LOGIN")


@asynccontextmanager
async def wrong_password(bench):
    """Require a password, and change it."""
    rules = bench.server.data / "pg_hba.conf"
    before = rules.read_text()
    await bench.admin.execute(f"ALTER ROLE {HOST} PASSWORD 'another'")
    rules.write_text(f"local all {HOST} scram-sha-256\n{before}")
    await bench.reload()
    await bench.hang_up()
    try:
        yield
    finally:
        rules.write_text(before)
        await bench.reload()


@asynccontextmanager
async def database_gone(bench):
    """Rename the database."""
    name = await bench.admin.fetchval("SELECT current_database()")
    async with bench.elsewhere() as admin:
        await admin.execute(f"ALTER DATABASE {name} RENAME TO elsewhere")
        try:
            yield
        finally:
            await admin.execute(f"ALTER DATABASE elsewhere RENAME TO {name}")


@asynccontextmanager
async def server_gone(bench):
    """Stop the server in good order."""
    await asyncio.to_thread(bench.server.stop, "fast")
    await bench.noticed()
    try:
        yield
    finally:
        await bench.start()


@asynccontextmanager
async def server_starting(bench):
    """Make the server a standby that refuses connections, so that it reports that it is starting up."""
    settings = bench.server.data / "postgresql.conf"
    before = settings.read_text()
    await as_standby(bench, before + "\nhot_standby = off\n")
    try:
        yield
    finally:
        await asyncio.to_thread(bench.server.stop, "fast")
        (bench.server.data / "standby.signal").unlink()
        settings.write_text(before)
        await bench.start()


async def as_standby(bench, settings=None):
    """Start the server again, as a standby without a primary."""
    await asyncio.to_thread(bench.server.stop, "fast")
    await bench.noticed()
    (bench.server.data / "standby.signal").touch()
    if settings is not None:
        (bench.server.data / "postgresql.conf").write_text(settings)
    await asyncio.to_thread(bench.server.start)


@asynccontextmanager
async def too_many(bench):
    """Use up the session limit of the host's user with sessions that are not the host's."""
    await bench.hang_up()
    await bench.admin.execute(f"ALTER ROLE {HOST} CONNECTION LIMIT 2")
    others = [await asyncpg.connect(bench.host_dsn) for _ in range(2)]
    try:
        yield
    finally:
        for other in others:
            await other.close()
        await bench.admin.execute(f"ALTER ROLE {HOST} CONNECTION LIMIT -1")


@asynccontextmanager
async def no_room(bench):
    """Fill the disk of the histories: a tablespace on an in-memory file system, with a file that takes the free space."""
    folder = bench.server.folder / "small"
    folder.mkdir()
    mount = await asyncio.create_subprocess_exec("mount", "-t", "tmpfs", "-o", "size=16m,mode=0777", "tmpfs", folder)
    if await mount.wait():
        folder.rmdir()
        pytest.skip("disk full: only root, where it may mount, can make a disk small enough")
    try:
        inner = folder / "space"
        inner.mkdir()
        owner = bench.server.data.stat()
        os.chown(inner, owner.st_uid, owner.st_gid)
        await bench.admin.execute(f"CREATE TABLESPACE small LOCATION '{inner}'")
        # VACUUM FULL, because autovacuum could otherwise free the space of failed calls for other calls.
        await bench.admin.execute("VACUUM FULL history_node")
        await bench.admin.execute("ALTER TABLE history_node SET TABLESPACE small")
        filler = folder / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(8192)):
                pass
        try:
            yield
        finally:
            filler.unlink()
            await bench.admin.execute("ALTER TABLE history_node SET TABLESPACE pg_default")
            await bench.admin.execute("DROP TABLESPACE small")
    finally:
        unmount = await asyncio.create_subprocess_exec("umount", folder)
        assert await unmount.wait() == 0
        folder.rmdir()


async def cancel(bench, _blocker, waiting, _calls):
    """Stop the statements, as an operator does."""
    await bench.admin.fetch("SELECT pg_cancel_backend(pid) FROM unnest($1::int[]) AS pid", waiting)


async def terminate(bench, blocker, waiting, _calls):
    """End the waiting sessions, then the one that holds the locks."""
    await bench.admin.fetch("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS pid", waiting)
    blocker.terminate()


async def stop(bench, blocker, _waiting, calls):
    """Stop the server in good order. The session with the locks ends last; otherwise some calls would succeed.

    Until it ends, the server answers new connections that it is shutting down.
    """
    os.kill(blocker.get_server_pid(), signal.SIGSTOP)
    stopping = asyncio.ensure_future(asyncio.to_thread(bench.server.stop, "fast"))
    await asyncio.wait({calls})
    os.kill(blocker.get_server_pid(), signal.SIGCONT)
    await stopping


async def stop_at_once(bench, _blocker, _waiting, _calls):
    """Stop the server without a checkpoint."""
    await asyncio.to_thread(bench.server.stop)


async def crash(_bench, blocker, _waiting, _calls):
    """Kill one of the server's processes. The server then ends all others, and recovers."""
    os.kill(blocker.get_server_pid(), signal.SIGKILL)
