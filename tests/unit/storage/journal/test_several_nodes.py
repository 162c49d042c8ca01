"""When a verification of several nodes raises an alarm, without a cluster."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from strongroom.storage.journal import several_nodes
from strongroom.storage.journal.reading import ShardVerification
from strongroom.storage.journal.several_nodes import agreed, snapshots_of_one_moment


def result(*tables):
    """Return a result that names tables with a difference."""
    return ShardVerification(-1, rows=1, number=1, pending=0, tables=list(tables))


@pytest.mark.parametrize("tables", [(), ("tasks",)])
async def test_only_the_try_that_stops_writes_raises_an_alarm(monkeypatch, tables):
    """Under steady writers each try can find a difference, because no two nodes have the snapshot of one moment."""
    monkeypatch.setattr(several_nodes, "_PAUSES", (0.0,) * 5)
    tries = []

    async def verify(*, stopping):
        tries.append(stopping)
        return (result(*tables) if stopping else result("tasks")), False

    assert await agreed(verify) == result(*tables)
    assert tries == [False] * 5 + [True]


@pytest.mark.parametrize(("found", "is_one_snapshot"), [(result("tasks"), True), (result(), False)])
async def test_writes_go_on_if_the_first_try_is_enough(found, is_one_snapshot):
    """One snapshot needs no second try, and neither does a result without a difference."""

    async def verify(*, stopping):
        assert not stopping
        return found, is_one_snapshot

    assert await agreed(verify) is found


async def test_writes_are_stopped_only_while_the_snapshots_are_taken():
    """The lock is taken before the first node is read, and released before the rows are."""
    steps = []

    class Connection:
        def __init__(self, name):
            self.name = name

        async def execute(self, statement):
            steps.append((self.name, statement))

        async def fetch(self, statement):
            steps.append((self.name, statement))

    class Database:
        @asynccontextmanager
        async def dedicated_transaction(self):
            yield Connection("writes")
            steps.append(("writes", "COMMIT"))

    await snapshots_of_one_moment(Database(), Connection("rows"))
    assert [(name, text.split()[0]) for name, text in steps] == [
        *(("rows", "SET"), ("writes", "SET"), ("writes", "--"), ("rows", "SELECT"), ("writes", "COMMIT"))
    ]
    assert "EXCLUSIVE MODE" in steps[2][1]
    assert "lock_timeout" in steps[1][1]
