"""No wall clock decides anything: commands on hosts with a wrong clock, and a database server whose clock jumps."""

from __future__ import annotations

import asyncio
import os
import random
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import CachePolicy, KeyState, begin_index_rotation, rotate_data_key
from strongroom.storage import RegistryWait, destroy_retired_key
from strongroom.visibility import Layout
from tests.support.clocks.shifted_clock import ShiftedClock
from tests.support.deaf import opened_deaf
from tests.support.fixtures.command_line import STRONGROOM
from tests.support.fixtures.raw_rows import execute
from tests.support.plaintext_copy import CUSTOM, random_documents
from tests.support.registered_keys import FIRST, Writer, written
from tests.support.sealed_namespace import Sealed

pytestmark = pytest.mark.integration

KEPT = 2.0
"""Seconds for which processes keep keys here."""
WAIT = KEPT + 10.0
"""Seconds that the commands wait. A call of the other process that began with an old key may take ten seconds on a busy machine."""
MINUTES = 60.0
DAY = 86_400.0
OLDER = "UPDATE data_keys SET created_at = created_at - $1::interval"
FILTER = "WorkflowType = 'Order'"


async def command(config_path, clock, *arguments):
    """Run a command on a host with this clock; return what it prints, and the seconds that it took."""
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        STRONGROOM,
        *arguments,
        cwd=config_path.parent,
        env={**os.environ, **clock.environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode(), time.monotonic() - began


@pytest.mark.parametrize("error", [20 * MINUTES, -20 * MINUTES, DAY])
async def test_commands_on_a_host_with_a_wrong_clock_lose_and_hide_nothing(config_path, tmp_path, error):
    """`keys reseal --destroy` and a resumed `index rotate` wait until another process has read the change, whatever their clock says.

    The other process is not notified of key changes. It seals with its old key, and searches in its old epoch, as long as it may.
    """
    clock = ShiftedClock(tmp_path / "clock")
    clock.shift(error)
    config = load_config(config_path)
    config = replace(config, cache=CachePolicy(soft_ttl=KEPT, encrypt_ttl=KEPT, decrypt_ttl=KEPT))
    await Strongroom.init(config)
    async with opened_deaf(config) as other, Strongroom.open(config) as ours:
        await ours.create_kek(FIRST)
        namespace = await ours.namespaces.create("payments", kek=FIRST, search_attributes=CUSTOM)
        cell = Sealed(other, namespace)
        await cell.write(random_documents(random.Random(7), 20))  # noqa: S311 - repeatable
        runs, _ = await cell.count(FILTER)
        assert runs
        await rotate_data_key(ours.keyring, cell.namespace_id)
        epoch = await begin_index_rotation(ours.keyring, cell.namespace_id, layout=str(Layout()))
        assert epoch.state is KeyState.PENDING
        wait = ("payments", "--wait", str(WAIT))
        running = asyncio.gather(
            command(config_path, clock, "keys", "reseal", *wait, "--rate", "0", "--destroy"),
            command(config_path, clock, "index", "rotate", *wait),
        )
        while not running.done():
            assert (await cell.count(FILTER))[0] == runs, "runs are hidden"
            await asyncio.sleep(0.05)
        (printed, resealing), (_, rotating) = await running
        assert "version 1 is destroyed" in printed
        assert min(resealing, rotating) >= WAIT
        writer = Writer(other, cell.namespace_id)
        await written(writer, 3)
        ours.keyring.evict(cell.namespace_id)
        page = await ours.history.read_history_branch(cell.namespace_id, writer.branch, page_size=10)
        assert len(page.nodes) == 3
        assert (await cell.count(FILTER))[0] == runs


class Slept:
    """A monotonic clock that only waits advance, and that counts the seconds of the waits."""

    def __init__(self):
        self.seconds = 0.0

    def wait(self):
        """Return a wait of 900 seconds by this clock."""
        return RegistryWait(900.0, monotonic=lambda: self.seconds, sleep=self.sleep)

    async def sleep(self, seconds):
        """Advance the clock."""
        self.seconds += seconds


@pytest.fixture
def slept():
    return Slept()


@pytest.mark.parametrize(
    "jump", [timedelta(minutes=20), timedelta(days=1), timedelta(minutes=-20), timedelta(days=10_000)]
)
async def test_a_jump_of_the_servers_clock_shortens_no_wait(strongroom, namespace, slept, jump):
    """A destruction and an activation wait the whole time by the monotonic clock, however old a change is by the server's clock.

    Moving the times of the keys into the past is the same for a job as moving the server's clock forward.
    """
    namespace_id = namespace.namespace_id
    await rotate_data_key(strongroom.keyring, namespace_id)
    await begin_index_rotation(strongroom.keyring, namespace_id, layout=str(Layout()))
    await execute(strongroom, OLDER, jump)
    rotation, reseal = strongroom.index_rotation(), strongroom.reseal()
    rotation._wait = reseal.wait = slept.wait()
    assert (await rotation.rotate(namespace_id, {})).resumed
    assert slept.seconds == 2 * 900.0, "before the activation, and before the destruction of the old epoch"
    before = slept.seconds
    await reseal.run(namespace_id, rate=0)
    await destroy_retired_key(reseal, namespace_id, 1)
    assert slept.seconds - before == 900.0, "one wait for both"


async def test_resealing_waits_for_a_rotation_of_the_last_days_only(strongroom, namespace, slept):
    """Resealing destroys nothing, so it doesn't wait if the rotation is more than two days old by the server's clock."""
    await rotate_data_key(strongroom.keyring, namespace.namespace_id)
    for aged, seconds in ((timedelta(days=1), 900.0), (timedelta(hours=25), 0.0)):
        await execute(strongroom, OLDER, aged)
        reseal, before = strongroom.reseal(), slept.seconds
        reseal.wait = slept.wait()
        await reseal.run(namespace.namespace_id, rate=0)
        assert slept.seconds - before == seconds


@pytest.mark.parametrize(("error", "text"), [(20 * MINUTES, "20 minutes behind"), (-DAY * 3, "3 days ahead of")])
async def test_doctor_notes_a_difference_of_the_clocks(config, config_path, tmp_path, error, text):
    """The database server's clock is compared with the host's, and the advice says what depends on it."""
    assert config.dsn
    clock = ShiftedClock(tmp_path / "clock")
    assert "one of them is wrong" not in (await command(config_path, clock, "doctor"))[0]
    clock.shift(error)
    printed, _ = await command(config_path, clock, "doctor")
    assert text in printed
    assert "time server" in printed
