"""Rotating the index key of a namespace, and changing its preset, while others read and write."""

from __future__ import annotations

import asyncio
import random
import signal
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager, suppress

import pytest

from strongroom.kms import (
    CachePolicy,
    IntegrityError,
    KeyClass,
    KeyConflict,
    KeyState,
    NamespaceKeys,
    RegistryAltered,
    activate_index_key,
    begin_index_rotation,
    index_keys,
)
from strongroom.storage import BEFORE_ALL, EVERY_NAMESPACE, ConditionFailed
from strongroom.visibility import Layout, new_layout
from tests.support.deaf import opened_deaf
from tests.support.fixtures.command_line import STRONGROOM
from tests.support.plaintext_copy import CUSTOM, Attributes, model, random_documents, random_filter
from tests.support.sealed_namespace import Sealed, sealed

pytestmark = pytest.mark.integration

ATTRIBUTES = Attributes(CUSTOM)
KEPT = 0.5
"""Seconds for which processes keep keys here."""
WAIT = KEPT + 5.0
"""Seconds to wait until no process uses the old keys. The five are for a write that began with them."""
KINDS = ("PostgreSQL", "Elasticsearch")


@asynccontextmanager
async def filled(config_path, elasticsearch, kind, *, documents=300, seed=1):
    """Open a namespace with random documents in it."""
    found = random_documents(random.Random(seed), documents)  # noqa: S311 - repeatable
    async with sealed(
        config_path, elasticsearch, kind, cache=CachePolicy(soft_ttl=KEPT, encrypt_ttl=KEPT, decrypt_ttl=KEPT)
    ) as ours:
        await ours.write(found)
        yield ours, found


@asynccontextmanager
async def another_process(ours):
    """Open the same cell once more, with keys and connections of its own; it gets no notification of key changes."""
    async with opened_deaf(ours.strongroom.config) as strongroom:
        yield Sealed(strongroom, await strongroom.namespaces.get("sealed"))


async def rotate(ours, *, preset=None, wait=WAIT, progress=None):
    """Rotate in one process."""
    layout = None if preset is None else new_layout(preset)
    rotation = ours.strongroom.index_rotation(wait=wait)
    return await rotation.rotate(ours.namespace_id, ours.types, layout=layout, progress=progress)


async def states(ours):
    """Return the state of each epoch."""
    return {record.version: record.state for record in await index_keys(ours.strongroom.keyring, ours.namespace_id)}


async def epochs(ours):
    """Return which epochs records and documents are in."""
    async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
        found = {row["k"] for row in await connection.fetch("SELECT DISTINCT k FROM visibility_records")}
    if ours.strongroom.search_index is not None:
        await ours.strongroom.indexer.drain()
        found |= (await ours.strongroom.search_index.epochs(ours.namespace_id)).keys()
    return found


async def wrong_answers(ours, documents, rng, *, filters):
    """Ask random filters, and return those that were not answered as plain Python does."""
    wrong = []
    for _ in range(filters):
        text = random_filter(rng, ATTRIBUTES)
        wanted = model.run_ids(text, documents, ATTRIBUTES)
        found = [run_id for page in await ours.pages(text, 100) for run_id in page]
        count, _ = await ours.count(text)
        if found != wanted or count != len(wanted):
            wrong.append(text)
    grouped = "GROUP BY ExecutionStatus"
    if (await ours.count(grouped))[1] != model.groups(grouped, documents, ATTRIBUTES):
        wrong.append(grouped)
    return wrong


async def rewrite_for_ever(other, documents, done):
    """Write runs again as they are, in ever newer versions, with whatever keys this process has."""
    rng = random.Random()  # noqa: S311 - which runs, no secret
    while not done.is_set():
        await other.write(rng.sample(documents, 20), version=next(other.versions))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_answer_is_wrong_while_the_key_rotates_and_others_write(config_path, elasticsearch, kind):
    """From compatible to strict and back: lists, orders and counts stay exact in every process, at every moment."""
    rng = random.Random(20_261_124)  # noqa: S311 - repeatable
    async with filled(config_path, elasticsearch, kind) as (ours, documents), another_process(ours) as other:
        other.versions = iter(range(2, 10**6))
        for epoch, preset in ((2, "strict"), (3, "compatible")):
            done = asyncio.Event()
            writing = [asyncio.create_task(rewrite_for_ever(other, documents, done)) for _ in range(3)]
            rotating = asyncio.create_task(rotate(ours, preset=preset))
            asked = 0
            while not rotating.done():
                for who in (ours, other):
                    assert await wrong_answers(who, documents, rng, filters=3) == []
                asked += 6
            done.set()
            await asyncio.gather(*writing)
            result = await rotating
            assert asked >= 6, "the rotation went on long enough to be watched"
            assert (result.epoch, result.layout.preset, result.destroyed) == (epoch, preset, (epoch - 1,))
            assert result.rewritten > 0
            assert await epochs(ours) == {epoch}
            assert (await states(ours))[epoch - 1] is KeyState.DESTROYED
            assert await wrong_answers(other, documents, rng, filters=10) == []


async def test_asking_for_one_epoch_alone_gives_wrong_answers(config_path, elasticsearch, monkeypatch):
    """Control: the comparison sees what is missing when searches know only the epoch that is written."""
    rng = random.Random(3)  # noqa: S311 - repeatable
    async with filled(config_path, elasticsearch, "PostgreSQL") as (ours, documents):
        keyring = ours.strongroom.keyring
        begun = await begin_index_rotation(keyring, ours.namespace_id, layout=str(Layout()))
        await activate_index_key(keyring, ours.namespace_id, begun.version)
        await ours.write(documents[::2], version=2)
        assert await epochs(ours) == {1, 2}
        assert await wrong_answers(ours, documents, rng, filters=10) == []
        with monkeypatch.context() as patched:
            patched.setattr(NamespaceKeys, "epochs", lambda keys: (keys.active_version(KeyClass.INDEX),))
            assert await wrong_answers(ours, documents, rng, filters=10) != []
        result = await rotate(ours, wait=0)
        assert (result.resumed, result.destroyed) == (True, (1,))


class BrokenOffError(Exception):
    """Stands for the end of a process."""


@pytest.mark.parametrize("kind", KINDS)
async def test_a_rotation_that_broke_off_goes_on(config_path, elasticsearch, kind):
    """Broken at each of its steps it is finished by the next run, and at no time is an answer wrong."""
    rng = random.Random(5)  # noqa: S311 - repeatable
    async with filled(config_path, elasticsearch, kind) as (ours, documents):
        for broken_at in ("wait", "rewrite"):

            def end(step, _, broken_at=broken_at):
                if step == broken_at:
                    raise BrokenOffError

            with pytest.raises(BrokenOffError):
                await rotate(ours, wait=KEPT, progress=end)
            assert await wrong_answers(ours, documents, rng, filters=5) == []
        result = await rotate(ours, wait=KEPT)
        assert (result.epoch, result.resumed, result.destroyed) == (2, True, (1,))
        assert await epochs(ours) == {2}
        assert await wrong_answers(ours, documents, rng, filters=5) == []


async def test_a_command_that_is_killed_again_and_again_comes_to_its_end(config_path, elasticsearch):
    """`index rotate` with SIGKILL at any moment loses nothing, no answer is wrong, and what it says at the end is so."""
    rng = random.Random(6)  # noqa: S311 - repeatable
    command = [
        STRONGROOM,
        "--config",
        config_path,
        "index",
        "rotate",
        "sealed",
        "--preset",
        "strict",
        "--wait",
        "1",
    ]
    async with filled(config_path, elasticsearch, "PostgreSQL", documents=1500) as (ours, documents):
        killed = 0
        while killed < 6:
            killed += await ended(command, within=rng.uniform(0.4, 2.0)) is None
            assert await wrong_answers(ours, documents, rng, filters=2) == []
        output = await ended(command, within=None)
        (epoch,) = await epochs(ours)
        assert f"all documents are in epoch {epoch}, preset strict" in output
        ours.strongroom.keyring.evict(ours.namespace_id)
        assert await wrong_answers(ours, documents, rng, filters=10) == []
        assert {state for version, state in (await states(ours)).items() if version != epoch} == {KeyState.DESTROYED}
        shown = await ended([STRONGROOM, "--config", config_path, "keys", "list", "sealed"], within=None)
        assert [preset for preset in ("compatible", "strict") if preset in shown] == ["compatible", "strict"]


async def ended(command, *, within):
    """Run a command that must succeed, and return what it printed; None where it had to be killed after `within` seconds."""
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await process.wait()
    if process.returncode is None:
        process.kill()
    output, errors = (text.decode() for text in await process.communicate())
    assert process.returncode in (0, -signal.SIGKILL), errors
    return None if process.returncode else output


async def test_two_that_rotate_at_once_make_one_rotation(config_path, elasticsearch):
    """The result is one epoch; the second caller joins in, or gets an error."""
    async with filled(config_path, elasticsearch, "PostgreSQL") as (ours, documents), another_process(ours) as other:
        results = await asyncio.gather(*(rotate(who, wait=KEPT) for who in (ours, other)), return_exceptions=True)
        assert all(not isinstance(one, BaseException) or isinstance(one, KeyConflict) for one in results), results
        with suppress(KeyConflict):
            await rotate(ours, wait=KEPT)
        assert await epochs(ours) <= {2, 3}
        assert await wrong_answers(other, documents, random.Random(1), filters=5) == []  # noqa: S311 - repeatable


async def test_another_preset_is_refused_while_a_rotation_is_under_way(config_path, elasticsearch):
    """What was begun is finished as it was begun, and the message says how."""
    async with filled(config_path, elasticsearch, "PostgreSQL", documents=10) as (ours, _):
        await begin_index_rotation(ours.strongroom.keyring, ours.namespace_id, layout=str(new_layout("strict")))
        with pytest.raises(ConditionFailed, match="index rotate"):
            await rotate(ours, preset="compatible", wait=0)
        assert (await rotate(ours, wait=0)).layout.preset == "strict"


async def test_the_same_preset_with_other_shares_resumes(config_path, elasticsearch):
    """Salts are learned from the runs of the moment: a command that is run again finds other shares, and goes on all the same."""
    async with filled(config_path, elasticsearch, "PostgreSQL", documents=20) as (ours, _):
        begun = new_layout("strict", {"Completed": 300, "Failed": 100})
        await begin_index_rotation(ours.strongroom.keyring, ours.namespace_id, layout=str(begun))
        done = await ours.strongroom.index_rotation(wait=0).rotate(
            ours.namespace_id, ours.types, layout=new_layout("strict", {"Completed": 100, "Failed": 300})
        )
        assert (done.layout, done.resumed) == (begun, True)


async def test_a_damaged_record_keeps_the_old_key(config_path, elasticsearch):
    """All others get their new tokens, the damaged one is named as such, and its epoch stays until it is repaired."""
    async with filled(config_path, elasticsearch, "PostgreSQL") as (ours, documents):
        damaged = "UPDATE visibility_records SET s = set_byte(s, 40, get_byte(s, 40) # 1) WHERE id = $1"
        async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            identifier = await connection.fetchval("SELECT id FROM visibility_records LIMIT 1")
            await connection.execute(damaged, identifier)
        with pytest.raises(IntegrityError, match=r"^1 records do not open.*strongroom index reconcile --check"):
            await rotate(ours, wait=0)
        async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            left = await connection.fetch("SELECT id FROM visibility_records WHERE k = 1")
            await connection.execute(damaged, identifier)  # the same bit again: it is whole
        assert [row["id"] for row in left] == [identifier]
        assert (await states(ours))[1] is KeyState.DECRYPT_ONLY
        assert (await rotate(ours, wait=0)).destroyed == (1,)
        assert await wrong_answers(ours, documents, random.Random(1), filters=5) == []  # noqa: S311 - repeatable


async def test_a_layout_that_was_edited_is_refused(config_path, elasticsearch):
    """The registry has in clear what an epoch contains; an edit of it causes errors, and never a wrong answer."""
    async with filled(config_path, elasticsearch, "PostgreSQL", documents=10) as (ours, _):
        assert (await ours.count("WorkflowType IS NOT NULL"))[0]
        async with ours.strongroom.database.connection(EVERY_NAMESPACE) as connection:
            await connection.execute("UPDATE data_keys SET layout = 'strict 3' WHERE class = 'index'")
        ours.strongroom.keyring.evict(ours.namespace_id)
        with pytest.raises(RegistryAltered):
            await ours.count("WorkflowType IS NOT NULL")


async def test_an_indexer_that_is_late_is_put_right(config_path, elasticsearch):
    """A record of the old epoch that is sent after that of the new one does not stay: the run goes on the list again."""
    async with filled(config_path, elasticsearch, "Elasticsearch", documents=5) as (ours, documents):
        outbox, index = ours.strongroom.outbox, ours.strongroom.search_index
        await ours.write([documents[0]], version=1)  # changes nothing
        async for _ in outbox.add_all():
            pass
        late = await outbox.take(BEFORE_ALL, runs=10, size=2**20)
        await rotate(ours, wait=0)
        await index.write([(entry.key[1], entry.record) for entry in late])
        assert set(await index.epochs(ours.namespace_id)) == {1}, "control: the cluster takes the old epoch back"
        await outbox.done(late)
        assert await epochs(ours) == {2}
