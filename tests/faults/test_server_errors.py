from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from strongroom.storage import DatabaseUnavailable, SchemaMismatch, StorageError
from strongroom.storage.errors import (
    AppendHistoryTimeout,
    DatabaseAuthenticationError,
    DatabaseTimeout,
    ResourceExhausted,
)
from tests.support.faults import server_faults as faults
from tests.support.faults.server_bench import CALLS, WRITES, betrays, changed, check

pytestmark = pytest.mark.integration

# Faults that last


@dataclass(frozen=True)
class Lasting:
    """A fault that lasts, and the error of these calls while it does. The other calls succeed."""

    name: str
    fault: object
    states: set[str]
    error: type[StorageError]
    says: str
    calls: tuple[str, ...] = CALLS
    closed: bool = False
    """Whether no new connection can be made either."""


LASTING = (
    Lasting("read only", faults.read_only, {"25006"}, DatabaseUnavailable, "read-only", WRITES),
    Lasting("forbidden", faults.forbidden, {"42501"}, StorageError, "SQLSTATE 42501", WRITES),
    Lasting("table", faults.no_table, {"42P01"}, SchemaMismatch, "table", ("create", "update", "shard")),
    Lasting("column", faults.no_column, {"42703"}, SchemaMismatch, "column", ("tasks",)),
    Lasting("function", faults.no_function, {"42883"}, SchemaMismatch, "function", ("append",)),
    Lasting("schema", faults.no_schema, {"42P01", "3F000"}, SchemaMismatch, "strongroom schema apply"),
    Lasting("disk full", faults.no_room, {"53100"}, ResourceExhausted, "disk", ("append", "create")),
    Lasting("too many", faults.too_many, {"53300"}, ResourceExhausted, "connections", closed=True),
    Lasting("no login", faults.no_login, {"28000"}, DatabaseAuthenticationError, "refuses the connection", closed=True),
    Lasting(
        "password", faults.wrong_password, {"28P01"}, DatabaseAuthenticationError, "refuses the connection", closed=True
    ),
    Lasting("no database", faults.database_gone, {"3D000"}, DatabaseUnavailable, "does not exist", closed=True),
    Lasting("gone", faults.server_gone, {"FileNotFoundError"}, DatabaseUnavailable, "can't be reached", closed=True),
    Lasting("starting", faults.server_starting, {"57P03"}, DatabaseUnavailable, "starting", closed=True),
)


@pytest.mark.parametrize("row", LASTING, ids=lambda row: row.name)
async def test_a_fault_that_lasts(server_bench, heard, caplog, row):
    """Each call gets its error, nothing is written, and no planted text shows. The same host continues afterwards."""
    async with server_bench.host() as host:
        before = await server_bench.rows()
        heard.clear()
        async with row.fault(server_bench):
            answers = await host.at_once(*row.calls)
            if row.closed:
                answers["open"] = await host.opened_again()
        assert heard == row.states
        for error in answers.values():
            check(error, row.error, committed=False, says=row.says)
        assert changed(before, await server_bench.rows()) == set()
        others = set(CALLS) - set(row.calls)
        if others:
            async with row.fault(server_bench):
                assert await host.at_once(*others) == dict.fromkeys(others)
        await host.serves()
    assert not betrays(caplog.text)


# Faults that meet a statement on its way


@dataclass(frozen=True)
class Meeting:
    """A fault during calls that wait for a lock, and their error. Appends may get another error."""

    name: str
    act: object
    """None: a time limit ends the statements."""
    states: set[str]
    error: type[StorageError]
    says: str
    committed: bool
    append: type[StorageError] | None = None
    """None: the same as the other calls."""
    again: frozenset[str] = frozenset()
    """Calls that are sent again, and succeed."""
    down: bool = False
    limits: dict[str, float] = field(default_factory=dict)
    lock_timeout: float = 0.0


AGAIN = frozenset({"append", "read"})
MEETING = (
    Meeting(
        *("statement timeout", None, {"57014"}, DatabaseTimeout, "time limit", False),
        append=AppendHistoryTimeout,
        limits={"statement_timeout": 5.0},
    ),
    Meeting(
        *("lock timeout", None, {"55P03"}, DatabaseTimeout, "lock", False),
        append=AppendHistoryTimeout,
        lock_timeout=2.0,
    ),
    Meeting("cancelled", faults.cancel, {"57014"}, DatabaseTimeout, "time limit", False, append=AppendHistoryTimeout),
    Meeting("terminated", faults.terminate, {"57P01", "08003"}, DatabaseUnavailable, "lost", True, again=AGAIN),
    Meeting(
        "fast shutdown", faults.stop, {"57P01", "08003", "57P03"}, DatabaseUnavailable, "database", True, down=True
    ),
    Meeting("immediate shutdown", faults.stop_at_once, {"08003"}, DatabaseUnavailable, "database", True, down=True),
    Meeting("crash", faults.crash, {"08003"}, DatabaseUnavailable, "database", True),
)


@pytest.mark.parametrize("row", MEETING, ids=lambda row: row.name)
async def test_a_fault_that_meets_a_statement(server_bench, heard, caplog, limits, row):
    """An answer means that nothing was written. No answer means an unknown outcome, and idempotent calls are sent again."""
    limits(**row.limits)
    async with server_bench.host(lock_timeout=row.lock_timeout) as host:
        before = await server_bench.rows()
        heard.clear()
        async with server_bench.tables_locked() as blocker:
            calls = asyncio.ensure_future(host.at_once())
            if row.act is not None:
                await row.act(server_bench, blocker, await server_bench.waiting(len(CALLS)), calls)
            answers = await calls
        if row.down:
            await server_bench.start()
        if row.act is faults.crash:
            await server_bench.reconnect()
        for name, error in answers.items():
            if name in row.again:
                assert error is None
                continue
            expected = row.append if name == "append" and row.append else row.error
            check(error, expected, committed=row.committed, says=row.says)
        assert row.states <= heard
        written = {"history_node", "history_tree"} if "append" in row.again else set()
        assert changed(before, await server_bench.rows()) == written
        await host.serves()
    assert not betrays(caplog.text)
