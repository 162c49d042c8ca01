from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from uuid import uuid4

import pytest

from strongroom.kms import InvalidRequest
from strongroom.storage import Database, HistoryBranch, HistoryNode
from strongroom.storage.engine import idle, transactions
from strongroom.storage.errors import AppendHistoryTimeout, DatabaseTimeout
from tests.support.faults.server_bench import CALLS, HOST, PLANTED, check, payload

pytestmark = pytest.mark.integration


def signal_all(processes, number):
    """Send a signal to those of the processes that still exist."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


async def test_a_server_that_falls_silent(server_bench, heard, limits):
    """If the server's processes are frozen, every call ends, and only idempotent calls are sent again."""
    limits(statement_timeout=10.0, grace=0.2)  # all calls must wait for a lock before it is over
    async with server_bench.host() as host:
        async with server_bench.tables_locked() as blocker:
            calls = asyncio.ensure_future(host.at_once())
            frozen = await server_bench.waiting(len(CALLS))
            try:
                signal_all(frozen, signal.SIGSTOP)
                blocker.terminate()
                answers = await asyncio.wait_for(calls, 60)
            finally:
                signal_all(frozen, signal.SIGCONT)
        assert heard == {"TimeoutError"}
        assert answers.pop("append") is None
        assert answers.pop("read") is None
        for error in answers.values():
            check(error, DatabaseTimeout, committed=True, says="did not answer in time")
        await server_bench.ended(frozen)
        await host.serves()


async def test_closing_does_not_wait_for_a_server_that_fell_silent(server_bench, monkeypatch):
    """All connections are dropped at once, after one timeout, and not one after the other."""
    closing = []

    async def noted(connection, **options):
        closing.append("begin")
        await transactions.close(connection, **options)
        closing.append("end")

    monkeypatch.setattr(idle, "close", noted)
    async with server_bench.host() as host:
        pool = host.strongroom.by_key
        lent = [await pool.acquire() for _ in range(6)]
        for connection in lent:
            pool.release(connection)
        rows = await server_bench.admin.fetch("SELECT pid FROM pg_stat_activity WHERE usename = $1", HOST)
        frozen = [row["pid"] for row in rows]
        signal_all(frozen, signal.SIGSTOP)
        thawed = asyncio.Event()
        thaw = asyncio.get_running_loop().call_later(60, lambda: (thawed.set(), signal_all(frozen, signal.SIGCONT)))
    thaw.cancel()
    signal_all(frozen, signal.SIGCONT)
    assert not thawed.is_set(), "closing waited for the server"
    half = len(closing) // 2
    assert half >= len(lent)
    assert closing == ["begin"] * half + ["end"] * half
    await server_bench.ended(frozen)


async def test_a_server_that_lets_in_and_says_nothing(server_bench, heard, limits):
    """If the server accepts connections but does not answer, every caller gets an error, and requests are not tried one by one."""
    limits(connect_timeout=5.0)  # the limit holds for the opening too
    callers = 40
    async with server_bench.host() as host:
        accepted = []
        await asyncio.to_thread(server_bench.server.stop, "fast")
        await server_bench.noticed()
        socket = server_bench.server.folder / ".s.PGSQL.5432"
        silent = await asyncio.start_unix_server(lambda _, writer: accepted.append(writer), socket)
        branches = [HistoryBranch(host.workflow.shard_id, uuid4(), uuid4()) for _ in range(callers)]
        try:
            calls = [
                host.strongroom.history.append_history_nodes(
                    host.workflow.namespace_id, branch, [HistoryNode(1, 1, 0, payload(100))]
                )
                for branch in branches
            ]
            errors = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            silent.close()
            for writer in accepted:
                writer.close()
            socket.unlink(missing_ok=True)
            await server_bench.start()
        assert heard == {"TimeoutError"}
        for error in errors:
            check(error, AppendHistoryTimeout, committed=False, says="did not answer in time")
        assert len(accepted) < callers / 2
        await host.serves_again()


@pytest.mark.parametrize("insecure", [True, False])
@pytest.mark.parametrize(
    "dsn",
    [
        f"{PLANTED}",
        f"mysql://clerk:{PLANTED}@localhost/strongroom",
        f"postgresql://clerk@localhost:{PLANTED}/strongroom",
        f"postgresql://clerk:{PLANTED}@[::1/strongroom",
        f"postgresql://clerk@localhost/strongroom?sslmode={PLANTED}",
        f"postgresql://clerk:{PLANTED}@{PLANTED}@localhost/strongroom",
        f"postgresql://clerk:1/{PLANTED}@localhost/strongroom",
        f"postgresql://clerk:1#{PLANTED}@localhost/strongroom",
        f"postgresql://clerk:1?a={PLANTED}@localhost/strongroom",
        f"postgresql://clerk:{PLANTED}@localhost:99999/strongroom",
    ],
)
def test_a_dsn_that_is_none(dsn, insecure):
    """A wrong dsn is refused when the `Database` is made. No part of it is in the error, because it may be the password."""
    with pytest.raises(InvalidRequest, match="dsn") as refused:
        Database(dsn, insecure=insecure)
    assert PLANTED not in repr(refused.value)
    assert refused.value.__context__ is None
