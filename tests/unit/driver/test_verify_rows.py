"""`strongroom verify`: its pace, and how an interrupted run continues."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import click
import pytest
from click.testing import CliRunner

from strongroom.driver.cli.verify_rows import verify_rows
from strongroom.storage.journal.images import journal_shards
from strongroom.storage.journal.reading import ShardVerification

SHARDS, ROWS, OF_NAMESPACE = 6, 30, [2, 5]


class Journal:
    """A journal that verifies nothing.

    Attributes:
        verified: The shards that were verified, in order.
        fails_at: The shard whose verification fails.
    """

    def __init__(self):
        self.verified, self.fails_at = [], None

    async def shards_of(self, _namespace_id):
        """Return the shards of the namespace."""
        return OF_NAMESPACE

    async def verify(self, shard_id):
        """Return a verification that found nothing."""
        if shard_id == self.fails_at:
            raise click.ClickException("interrupted")
        self.verified.append(shard_id)
        return ShardVerification(shard_id, ROWS, number=1, pending=0)


@pytest.fixture
def journal(monkeypatch):
    """The journal of the cell that the command opens."""
    journal = Journal()
    cell = SimpleNamespace(journal=journal, config=SimpleNamespace(cell=SimpleNamespace(shard_count=SHARDS)))
    monkeypatch.setattr(
        "strongroom.driver.cli.verify_rows.with_cell", lambda _path, run, _operation: asyncio.run(run(cell))
    )
    return journal


def verify(*arguments):
    """Run the command."""
    return CliRunner().invoke(verify_rows, arguments, obj=Path("strongroom.toml"))


@pytest.mark.parametrize(
    "arguments",
    [(), ("--namespace", str(UUID(int=7))), ("--shard", "5", "--shard", "3", "--shard", "-1"), ("--from", "4")],
    ids=["all", "namespace", "shards", "from"],
)
def test_an_interrupted_run_continues_without_a_gap(journal, arguments):
    """Wherever a run stops, the command that it prints verifies every shard that is left."""
    assert verify(*arguments).exit_code == 0
    wanted = journal.verified[:]
    for stopped in wanted:
        journal.verified, journal.fails_at = [], stopped
        shown = verify(*arguments)
        assert shown.exit_code == 1
        done, total, first = re.search(r"(\d+) of (\d+) shards were compared; .* --from (-?\d+)", shown.output).groups()
        assert (int(done), int(total)) == (len(journal.verified), len(wanted))
        journal.fails_at = None
        assert verify("--from", first).exit_code == 0
        assert set(wanted) <= set(journal.verified)


def test_the_rate_is_kept(journal, monkeypatch):
    """After each shard the command waits as long as its rows may take. Without a rate it does not wait."""
    waited = []

    async def sleep(seconds):
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert verify("--rate", "60").exit_code == 0
    assert journal.verified == journal_shards(SHARDS)
    assert waited == [ROWS / 60] * len(journal.verified)
    waited.clear()
    assert verify().exit_code == 0
    assert waited == []
