"""A server that a test may stop, starve and break, and a host on it that calls public stores with planted values."""

from __future__ import annotations

import asyncio
import os
import traceback
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg

from strongroom.driver.strongroom import Strongroom
from strongroom.storage import (
    DatabaseUnavailable,
    DataBlob,
    HistoryBranch,
    HistoryNode,
    NotFound,
    ShardInfo,
    StorageError,
    Task,
    TaskQueue,
    TaskQueueKey,
)
from strongroom.storage.errors import AppendHistoryTimeout, DatabaseTimeout, ResourceExhausted
from tests.support.databases import dsn_of, superuser_of
from tests.support.deaf import opened_deaf
from tests.support.fixtures.contract import KEK, new_shard
from tests.support.fixtures.executions import RUNNING, TABLES, Workflow

PLANTED = "planted-canary"
CALLS = ("append", "create", "update", "tasks", "shard", "read")
WRITES = CALLS[:-1]
UNREACHED = {DatabaseUnavailable, DatabaseTimeout, AppendHistoryTimeout}
"""The errors of calls that reach no server in time."""
RETRYABLE = {*UNREACHED, ResourceExhausted}
HOST = "clerk"
"""The host's user. It is no superuser, because the server's limits do not apply to superusers."""
_ROW_TABLES = (*TABLES, "tasks", "task_queues", "shards")
_numbers = count(1)


def payload(size=30_000):
    """Return a payload that begins with the planted text. It is too large for the free space in a table's pages."""
    return DataBlob(PLANTED.encode() + os.urandom(size))


class ServerBench:
    """A cell, its server, and a session of the server's administrator.

    Attributes:
        server: The server, which the test may break.
        cell: The cell, opened as the owner of the tables. Its configuration is used.
        admin: A session in the cell's database. It is replaced after the server was stopped.
    """

    def __init__(self, server, cell):
        self.server = server
        self.cell = cell
        self.admin = None
        self._pools = ()

    async def begin(self):
        """Create the host's user, and connect."""
        self.admin = await self.administrator()
        await self.admin.execute(f"CREATE ROLE {HOST} LOGIN PASSWORD '{PLANTED}'")
        await self.admin.execute(f"GRANT pg_read_all_data, pg_write_all_data TO {HOST}")
        await self.admin.execute("ALTER SYSTEM SET deadlock_timeout = '100ms'")
        await self.admin.execute("SELECT pg_reload_conf()")

    async def administrator(self):
        """Open a session of the superuser, who changes the server's settings and ends other roles' sessions."""
        superuser_dsn = superuser_of(self.cell.config.dsn)
        return await asyncpg.connect(superuser_dsn, server_settings={"search_path": "strongroom"})

    async def reconnect(self):
        """Connect again, as soon as the server answers. Then wait until the host has noticed which sessions have ended."""
        self.admin.terminate()
        for _ in range(2400):  # two minutes
            try:
                self.admin = await self.administrator()
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
            else:
                await self.noticed()
                return
        raise AssertionError("the server did not come back")

    async def start(self):
        """Start the server that a test has stopped, and connect again."""
        await asyncio.to_thread(self.server.start)
        await self.reconnect()

    async def reload(self):
        """Reload the server's configuration files; return when it has read them."""
        before = await self.admin.fetchval("SELECT pg_conf_load_time()")
        await self.admin.execute("SELECT pg_reload_conf()")
        while await self.admin.fetchval("SELECT pg_conf_load_time()") == before:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def elsewhere(self):
        """Close all sessions of the cell's database, and yield a session in another database."""
        await self.hang_up()
        admin = await asyncpg.connect(self.server.dsn)
        name = urlsplit(self.cell.config.dsn).path[1:]
        await admin.fetch("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name)
        try:
            yield admin
        finally:
            await admin.close()
            await self.reconnect()

    @property
    def host_dsn(self):
        """The host's connection string, with a password that must not show."""
        return dsn_of(self.cell.config.dsn, role=HOST, password=PLANTED)

    @asynccontextmanager
    async def host(self, *, lock_timeout=0.0):
        """Open a host for one test. Every call has been made once, so its keys and prepared statements are cached.

        It does not listen for key changes, and folds nothing. The tests count connections, errors and statements that wait.

        Args:
            lock_timeout: Seconds that its statements wait for a lock; 0 for no limit, because tests hold locks until all calls wait.
        """
        config = replace(self.cell.config, dsn=self.host_dsn, connections=8)
        async with opened_deaf(config, folds=False, lock_timeout=lock_timeout) as strongroom:
            host = Host(strongroom)
            self._pools = (strongroom.database, strongroom.by_key, strongroom.registry)
            await host.begin()
            assert await host.at_once() == dict.fromkeys(CALLS)
            yield host

    async def rows(self):
        """Return every row of the cell's stores, as digests."""
        found = {}
        for table in _ROW_TABLES:
            query = f"SELECT md5(whole::text) AS digest FROM {table} whole ORDER BY 1"  # noqa: S608 - our own tables
            found[table] = [row["digest"] for row in await self.admin.fetch(query)]
        return found

    @asynccontextmanager
    async def tables_locked(self):
        """Lock all tables of the stores in another session, so that every call waits."""
        blocker = await self.administrator()
        try:
            await blocker.execute(f"BEGIN; LOCK TABLE {', '.join(_ROW_TABLES)} IN ACCESS EXCLUSIVE MODE")
            yield blocker
        finally:
            blocker.terminate()

    async def waiting(self, number):
        """Wait until this number of the host's statements wait for a lock; return their process ids."""
        return await self._waiting(number, "usename = $1", HOST)

    async def waits(self, session):
        """Wait until the statement of another session of the administrator waits for a lock."""
        await self._waiting(1, "pid = $1", session.get_server_pid())

    async def _waiting(self, number, condition, argument):
        query = f"SELECT pid FROM pg_stat_activity WHERE {condition} AND wait_event_type = 'Lock'"  # noqa: S608 - our own text
        for _ in range(12_000):
            await self.admin.execute("SELECT pg_stat_clear_snapshot()")
            rows = await self.admin.fetch(query, argument)
            if len(rows) == number:
                return [row["pid"] for row in rows]
            await asyncio.sleep(0.01)
        raise AssertionError(f"{number} statements should wait")

    async def ended(self, processes):
        """Wait until these processes of the server are gone."""
        while any(Path(f"/proc/{process}").exists() for process in processes):  # noqa: ASYNC110, ASYNC240 - no event for it
            await asyncio.sleep(0.01)

    async def hang_up(self):
        """End all sessions of the host, so that it must connect again."""
        query = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = $1"
        await self.admin.fetch(query, HOST)
        await self.noticed()

    async def noticed(self):
        """Wait until the host has noticed which sessions have ended. A call on one of them fails in another way than a new one."""
        while any(  # noqa: ASYNC110 - asyncpg has no event for it
            not connection.is_closed() and not Path(f"/proc/{connection.get_server_pid()}").exists()  # noqa: ASYNC240
            for pool in self._pools
            for connection, _ in pool._idle._connections
        ):
            await asyncio.sleep(0.01)

    @asynccontextmanager
    async def raising_once(self, table, event, sqlstate):
        """Make the first statement with an event on a table fail, as another transaction makes it fail. Sequences keep the count."""
        name = f"raises_once_on_{table}"
        await self.admin.execute(
            f"CREATE SEQUENCE {name};"
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN"
            f" IF nextval('strongroom.{name}') = 1 THEN RAISE EXCEPTION 'raced' USING ERRCODE = '{sqlstate}'; END IF;"
            f" RETURN NULL; END $$;"
            f"CREATE TRIGGER {name} AFTER {event} ON {table} EXECUTE FUNCTION {name}()"
        )
        try:
            yield
        finally:
            await self.admin.execute(f"DROP TRIGGER {name} ON {table}; DROP FUNCTION {name}(); DROP SEQUENCE {name}")

    @asynccontextmanager
    async def database_set(self, setting):
        """Change a setting for new sessions of the database. The host reconnects at the beginning and at the end."""
        name = await self.admin.fetchval("SELECT current_database()")
        await self.admin.execute(f"ALTER DATABASE {name} SET {setting}")
        await self.hang_up()
        try:
            yield
        finally:
            await self.admin.execute(f"ALTER DATABASE {name} RESET {setting.split()[0]}")
            await self.hang_up()


class Host:
    """A host's stores, with one call for each important statement of a service."""

    def __init__(self, strongroom):
        self.strongroom = strongroom

    async def begin(self):
        """Create the rows that the calls work on. All names and payloads are planted."""
        namespace = await self.strongroom.namespaces.create(f"{PLANTED}-{next(_numbers)}", kek=KEK)
        shard_id = await new_shard(self.strongroom)
        self.workflow = Workflow(self.strongroom, namespace.namespace_id, shard_id, f"{PLANTED} order")
        self.run_id = (await self.workflow.create(self.workflow.snapshot(of=RUNNING))).run_id
        self.queue = TaskQueueKey(namespace.namespace_id, f"{PLANTED} queue", 1)
        await self.strongroom.tasks.create_task_queue(TaskQueue(self.queue, 1, payload()))
        self.version = 1

    async def append(self):
        """Append a node to a new branch."""
        self.branch = HistoryBranch(self.workflow.shard_id, uuid4(), uuid4())
        await self.strongroom.history.append_history_nodes(
            self.workflow.namespace_id, self.branch, [HistoryNode(1, 1, 0, payload())], is_new_branch=True, info=PLANTED
        )

    async def appended(self):
        """Return whether the last append is stored."""
        try:
            await self.strongroom.history.read_history_branch(self.workflow.namespace_id, self.branch)
        except NotFound:
            return False
        return True

    async def create(self):
        """Create a run of another workflow, with its first events."""
        place = self.workflow.like(workflow_id=f"{PLANTED} {next(_numbers)}")
        snapshot = place.snapshot(execution_info=payload())
        events = place.events(snapshot.run_id)
        events = [replace(events[0], nodes=[HistoryNode(1, 1, 0, payload())])]
        await place.create(snapshot, new_workflow_new_events=events)

    async def update(self):
        """Update the run."""
        version = self.version + 1
        mutation = self.workflow.mutation(self.run_id, db_record_version=version, execution_info=payload())
        await self.workflow.update(mutation)
        self.version = version

    async def tasks(self):
        """Add a task to the queue."""
        await self.strongroom.tasks.create_tasks(self.queue, [Task(next(_numbers), payload())], range_id=1)

    async def shard(self):
        """Renew the shard's row."""
        shard = ShardInfo(self.workflow.shard_id, 1, payload())
        await self.strongroom.shards.update_shard(shard, previous_range_id=1)

    async def read(self):
        """Read the run."""
        await self.workflow.get(self.run_id)

    async def opened_again(self):
        """Open the same cell on another host; return the error, or None."""
        try:
            async with Strongroom.open(self.strongroom.config):
                return None
        except StorageError as error:
            return error

    async def at_once(self, *names):
        """Run these calls, or all calls, concurrently. Return the error of each call; None if it succeeded."""
        names = names or CALLS
        answers = await asyncio.gather(*(getattr(self, name)() for name in names), return_exceptions=True)
        return dict(zip(names, answers, strict=True))

    async def serves(self):
        """Read the run's version and repeat every call. Each succeeds, with the same connections and keys."""
        assert await self.failures() == []

    async def serves_again(self):
        """Wait until `serves` succeeds. With a short time limit for connections, a slow machine needs several attempts.

        Raises:
            StorageError: A call failed for another reason than an unreachable server.
        """
        async with asyncio.timeout(120):
            while errors := await self.failures():
                for error in errors:
                    if type(error) not in UNREACHED:
                        raise error
                await asyncio.sleep(0.05)

    async def failures(self):
        """Read the run's version and repeat every call. Return the errors."""
        try:
            self.version = (await self.workflow.get(self.run_id)).db_record_version
        except StorageError as error:
            return [error]
        return [error for error in (await self.at_once()).values() if error is not None]


def changed(before, after):
    """Return the tables whose rows differ."""
    return {table for table in before if before[table] != after[table]}


def told(error):
    """Return everything that an error, its cause and its context print or show."""
    parts = ["".join(traceback.format_exception(error))]
    queue, seen = [error], set()
    while queue:
        one = queue.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        parts += [
            str(one),
            repr(one),
            repr(one.args),
            repr(getattr(one, "__dict__", {})),
            "".join(getattr(one, "__notes__", [])),
        ]
        parts += traceback.format_exception_only(one)
        queue += [one.__cause__, one.__context__]
    return "\n".join(parts)


def betrays(text):
    """Return whether a text contains the planted text, as it is or in hexadecimal."""
    return PLANTED in text or PLANTED.encode().hex() in text


def check(error, expected, *, committed, says):
    """Check the error's class and message. It must reveal nothing of the planted text or of the driver's error."""
    assert type(error) is expected, told(error)
    assert isinstance(error, StorageError)
    assert error.may_have_been_committed is committed
    assert error.retryable is (expected in RETRYABLE)
    assert says in str(error)
    text = told(error)
    assert not betrays(text)
    assert error.__cause__ is None or isinstance(error.__cause__, StorageError)
    assert error.__context__ is None or isinstance(error.__context__, StorageError)
    assert "asyncpg" not in text
