"""What can be wrong with a server: faults that last while a block runs, and such as meet statements that wait."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from tests.support.faults.server_bench import HOST


def altered(there, back):
    """Something of the schema is elsewhere for a while."""

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
    """The function of appends has another digest, as of another version."""
    query = "SELECT proname FROM pg_proc WHERE proname LIKE 'append_history_nodes%'"
    name = await bench.admin.fetchval(query)
    await bench.admin.execute(f"ALTER FUNCTION {name} RENAME TO elsewhere")
    try:
        yield
    finally:
        await bench.admin.execute(f"ALTER FUNCTION elsewhere RENAME TO {name}")


def read_only(bench):
    """Sessions are read-only, as those of a server are whose operator wants no more writes."""
    return bench.database_set("default_transaction_read_only = on")


@asynccontextmanager
async def forbidden(bench):
    """The host's user may read only."""
    await bench.admin.execute(f"REVOKE pg_write_all_data FROM {HOST}")
    try:
        yield
    finally:
        await bench.admin.execute(f"GRANT pg_write_all_data TO {HOST}")


@asynccontextmanager
async def no_login(bench):
    """The host's user may not log in any more."""
    await bench.admin.execute(f"ALTER ROLE {HOST} NOLOGIN")
    await bench.hang_up()
    try:
        yield
    finally:
        await bench.admin.execute(f"ALTER ROLE {HOST} LOGIN")


@asynccontextmanager
async def wrong_password(bench):
    """The server wants a password, which is another one now."""
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
    """The database has another name."""
    name = await bench.admin.fetchval("SELECT current_database()")
    async with bench.elsewhere() as admin:
        await admin.execute(f"ALTER DATABASE {name} RENAME TO elsewhere")
        try:
            yield
        finally:
            await admin.execute(f"ALTER DATABASE elsewhere RENAME TO {name}")


@asynccontextmanager
async def server_gone(bench):
    """The server is stopped in good order."""
    await asyncio.to_thread(bench.server.stop, "fast")
    try:
        yield
    finally:
        await bench.start()


@asynccontextmanager
async def server_starting(bench):
    """The server is a standby that lets nobody in: it starts for as long as one likes."""
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
    (bench.server.data / "standby.signal").touch()
    if settings is not None:
        (bench.server.data / "postgresql.conf").write_text(settings)
    await asyncio.to_thread(bench.server.start)


@asynccontextmanager
async def too_many(bench):
    """The host's user has reached its limit of sessions, and none of them is the host's."""
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
    """The disk of the histories is full: a tablespace on a file system in memory, and a file that fills it."""
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
        # What a call that failed has left is room for others as soon as autovacuum has been there.
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


async def leave(_bench, _blocker, _waiting):
    """Do nothing: a limit does it."""


async def cancel(bench, _blocker, waiting):
    """Stop the statements, as an operator does."""
    await bench.admin.fetch("SELECT pg_cancel_backend(pid) FROM unnest($1::int[]) AS pid", waiting)


async def terminate(bench, blocker, waiting):
    """End the sessions; then nothing is locked any more."""
    await bench.admin.fetch("SELECT pg_terminate_backend(pid, 5000) FROM unnest($1::int[]) AS pid", waiting)
    blocker.terminate()


async def stop(bench, blocker, waiting):
    """Stop the server in good order; the session with the locks goes last, or it would let some calls through."""
    os.kill(blocker.get_server_pid(), signal.SIGSTOP)
    stopping = asyncio.ensure_future(asyncio.to_thread(bench.server.stop, "fast"))
    await bench.ended(waiting)
    await asyncio.sleep(0.1)
    os.kill(blocker.get_server_pid(), signal.SIGCONT)
    await stopping


async def stop_at_once(bench, _blocker, _waiting):
    """Stop the server without a checkpoint."""
    await asyncio.to_thread(bench.server.stop)


async def crash(_bench, blocker, _waiting):
    """Kill one of the server's processes: it ends all others, and recovers."""
    os.kill(blocker.get_server_pid(), signal.SIGKILL)
