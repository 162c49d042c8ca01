"""A pooler that is switched to transaction mode while services run: each answer is right, or an error names the pooler."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import tempfile
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import StrongroomError
from strongroom.storage import DatabaseUnavailable, PoolingNotSupported
from strongroom.storage.executions.tasks import TRANSFER
from tests.support.elasticsearch_node.node import free_ports
from tests.support.every_table import every_table
from tests.support.fixtures.driver_role import as_driver
from tests.support.row_level_security.crossed_calls import crossed_calls
from tests.support.services import or_skip
from tests.support.services.pgbouncer import configured, pgbouncer_of

pytestmark = pytest.mark.integration

ROUNDS = 3
PATIENCE = 60.0
READS = ("get", "list", "read", "count")


@contextmanager
def pooler(dsn, port, **settings):
    """Start a PgBouncer on a port; yield the folder of its configuration and its output."""
    settings = {"default_pool_size": "60", "server_reset_query": ""} | settings
    files = {"pgbouncer.ini": configured(dsn, port, **settings)}
    with (
        tempfile.TemporaryDirectory(prefix="strongroom-pooler-") as folder,  # root starts PgBouncer as another user
        or_skip(pgbouncer_of(Path(folder), dsn, files, port)),
    ):
        yield Path(folder)


async def switch(folder):
    """Switch a running PgBouncer to transaction mode."""

    def printed():
        return "".join(path.read_text() for path in folder.iterdir())

    configuration = folder / "pgbouncer.ini"
    configuration.write_text(configuration.read_text().replace("pool_mode = session", "pool_mode = transaction"))
    os.kill(int(re.search(r"\[(\d+)\] LOG process up", printed())[1]), signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while "re-reading config" not in printed():  # noqa: ASYNC110 - another process's log
            await asyncio.sleep(0.05)


def reads_of(table):
    """Return the calls that read one namespace, by operation."""
    calls = crossed_calls(table, table.namespace_id)
    cell = table.cell
    return {name: call for name, call in calls.items() if name.partition(".")[2].startswith(READS)} | {
        "metadata.get_namespace": lambda: cell.metadata.get_namespace(namespace_id=table.namespace_id),
        "namespaces.get": lambda: cell.namespaces.get(table.name),
        "history_tasks.get_history_tasks": lambda: table.workflow().stored_tasks(TRANSFER),
    }


async def outcome_of(call, right):
    """Return the outcome of a call: an error, "right", or the wrong answer."""
    try:
        answer = await call()
    except Exception as error:  # noqa: BLE001 - the test judges it
        return error
    return "right" if answer == right else answer


class Services:
    """Two services behind a pooler, each for a namespace of its own, as the role that row-level security applies to.

    Attributes:
        reads: The calls of each service, by operation.
        right: The right answers of each service, by operation.
    """

    def __init__(self):
        self.reads, self.right = [], []

    async def open(self, stack, config, pooled_dsn):
        """Open the services, write their rows, and learn the answers without the pooler."""
        direct = await stack.enter_async_context(Strongroom.open(config))
        for _ in range(2):
            table = await every_table(direct)
            table.expected["record shard"] = await direct.shards.shard_of(table.namespace_id, "order 0")
            self.right.append({name: await call() for name, call in reads_of(table).items()})
            cell = await stack.enter_async_context(Strongroom.open(replace(config, dsn=pooled_dsn)))
            self.reads.append(reads_of(table.on(cell)))

    async def read(self, names, *, together):
        """Make some calls of both services, in turn or at the same time; return the outcomes by operation."""
        found = []
        for name in names:
            calls = [outcome_of(reads[name], right[name]) for reads, right in zip(self.reads, self.right, strict=True)]
            outcomes = await asyncio.gather(*calls) if together else [await call for call in calls]
            found += [(name, outcome) for outcome in outcomes]
        return found


@pytest.mark.parametrize("together", [False, True], ids=["in-turn", "together"])
@pytest.mark.parametrize("way", ["reload", "restart"])
async def test_every_answer_is_right_or_an_error_that_names_the_pooler(dsn, tmp_path, way, together):
    """Whether a statement was prepared before the switch or not, no call finds nothing, and none runs another process's statement."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn=dsn, shards=16384)
    config = load_config(path)
    await Strongroom.init(config)
    config = replace(config, dsn=await as_driver(dsn))
    (port,) = free_ports(1)
    pooled_dsn = f"postgresql://postgres@127.0.0.1:{port}/{urlsplit(dsn).path[1:]}"
    services = Services()
    with ExitStack() as running:
        folder = running.enter_context(pooler(config.dsn, port, pool_mode="session"))
        async with AsyncExitStack() as stack:
            await services.open(stack, config, pooled_dsn)
            names = sorted(services.right[0])
            await services.read(
                names[::2], together=together
            )  # the statements of the others are prepared later, if at all
            if way == "reload":
                await switch(folder)
            else:
                running.close()
                running.enter_context(pooler(config.dsn, port, pool_mode="transaction", server_round_robin="1"))
            found = [one for _ in range(ROUNDS) for one in await services.read(names, together=together)]
    errors = [error for _, error in found if isinstance(error, StrongroomError)]
    wrong = [one for one in found if one[1] != "right" and one[1] not in errors]
    assert not wrong
    lost = [error for error in errors if way == "restart" and isinstance(error, DatabaseUnavailable)]
    refused = [error for error in errors if error not in lost]
    assert refused, "the pooler was switched"
    assert {type(error) for error in refused} == {PoolingNotSupported}
    assert {"PgBouncer" in str(error) for error in refused} == {True}
