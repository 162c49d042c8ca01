"""Streams of the audit log that nobody has written since the retention: the bucket forgets them, and no other stream."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest

from strongroom.driver.anchor import Anchors, AnchorUnavailable
from strongroom.driver.anchor import bucket as anchor_bucket
from strongroom.driver.anchor.configured import _bucket
from strongroom.driver.audit import Witness
from strongroom.driver.audit.chain import GENESIS
from strongroom.driver.audit.checkpoint import Checkpoint, SignedCheckpoint
from strongroom.driver.audit.positions import position_of
from strongroom.driver.audit.witness import KEPT
from strongroom.driver.freshness import forget_streams
from strongroom.kms import IntegrityError, Secret, SigningKey
from strongroom.storage import AuditCheckpointStore, apply_schema
from strongroom.storage.cell.positions import Position
from tests.support.audit.logs import KEY, PATIENT
from tests.support.audit.witnessed import problems, report, write
from tests.support.fixtures.command_line import run_command
from tests.support.processes import opened
from tests.support.s3_server import ENVIRONMENT

pytestmark = pytest.mark.integration

NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=500)
BEFORE = NOW - timedelta(days=400)
SHARD = Position("shard/1", 5, b"a" * 32)


@pytest.fixture
async def logged_cell(database, bucket):
    """What forgetting needs of a cell: the checkpoints in the database, and the anchors in the bucket."""
    await apply_schema(database)
    anchors = Anchors(None, bucket=_bucket(bucket.config(), UUID(int=7)))
    yield SimpleNamespace(audit_checkpoints=AuditCheckpointStore(database), anchors=anchors)
    await anchors.aclose()


async def add(store, stream_id, sequence, *, at, key=KEY):
    """Add a checkpoint of a stream, as its process did at a time. Return its position."""
    witness = Witness(store)
    recent = await witness.recent(stream_id)
    covered = Checkpoint(stream_id, sequence, sequence.to_bytes(32, "big"))
    made = SignedCheckpoint(recent.number + 1, recent.hash, covered, "another host:/audit", 0, at)
    assert await witness.add(made.signed(key))
    return position_of(covered)


async def anchored(logged_cell):
    """Return the positions in the newest object of the bucket, by name."""
    found = await logged_cell.anchors.bucket.newest(KEY.public_key)
    return {each.name: each for each in found.positions}


async def test_an_unused_stream_is_forgotten(logged_cell):
    """It is left out of the next object, together with its checkpoint. Streams in use, shards and newer positions stay."""
    store, bucket = logged_cell.audit_checkpoints, logged_cell.anchors.bucket
    old = await add(store, UUID(int=1), 10, at=LONG_AGO)
    used = await add(store, UUID(int=2), 10, at=LONG_AGO)
    used = await add(store, UUID(int=2), 20, at=NOW)
    await add(store, UUID(int=3), 10, at=NOW)
    await bucket.write([old, used, SHARD], KEY)
    read = await bucket.newest(KEY.public_key)
    await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    assert await anchored(logged_cell) == {each.name: each for each in (used, SHARD)}
    assert old.name not in {f"audit/{row.stream}" for row in (await store.list_checkpoints())[1]}
    newer = replace(SHARD, number=6)
    await bucket.write([newer], KEY, newest=read)
    assert old.name not in await anchored(logged_cell), "a process that had read the object before brings nothing back"
    again = await add(store, UUID(int=1), 11, at=NOW)
    await bucket.write([again], KEY)
    assert (await anchored(logged_cell))[again.name] == again, "a stream that a process continues is anchored again"


async def test_nothing_is_written_without_an_unused_stream(logged_cell, bucket):
    """The newest checkpoints are kept whatever their time, so a wrong clock of a host that writes now forgets nothing."""
    stored = await add(logged_cell.audit_checkpoints, UUID(int=1), 10, at=LONG_AGO)
    await logged_cell.anchors.bucket.write([stored], KEY)
    await forget_streams(logged_cell, KEY, before=BEFORE)
    assert await anchored(logged_cell) == {stored.name: stored}
    assert len(bucket.keys()) == 1


async def _rolled_back(logged_cell, database):
    """Put the checkpoints back to a moment at which a stream in use had only an old one. Return its position in the bucket."""
    store = logged_cell.audit_checkpoints
    await add(store, UUID(int=1), 10, at=LONG_AGO)
    used = await add(store, UUID(int=1), 20, at=NOW)
    await logged_cell.anchors.bucket.write([used], KEY)
    async with database.dedicated_transaction() as connection:
        await connection.execute("DELETE FROM audit_checkpoints WHERE number = 2")
    await add(store, UUID(int=2), 10, at=NOW)
    return used


async def test_a_stream_in_use_is_not_forgotten_because_its_checkpoints_were_put_back(logged_cell, database):
    """The database shows an old checkpoint of a stream, and no newer one. The bucket has a newer position, so it keeps it."""
    used = await _rolled_back(logged_cell, database)
    await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    assert await anchored(logged_cell) == {used.name: used}


async def test_without_the_comparison_it_is_forgotten(logged_cell, database, monkeypatch):
    """Control: the comparison with the anchored position is what keeps it."""
    await _rolled_back(logged_cell, database)
    monkeypatch.setattr(anchor_bucket, "is_older", lambda _forgotten, _anchored: False)
    await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    assert await anchored(logged_cell) == {}


async def test_another_state_of_the_same_number_is_kept(logged_cell):
    """A stream with two different records of one number is evidence."""
    stored = await add(logged_cell.audit_checkpoints, UUID(int=1), 10, at=LONG_AGO)
    await add(logged_cell.audit_checkpoints, UUID(int=2), 10, at=NOW)
    other = replace(stored, digest=b"b" * 32)
    await logged_cell.anchors.bucket.write([other], KEY)
    await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    assert await anchored(logged_cell) == {other.name: other}


@pytest.mark.parametrize("attack", ["UPDATE audit_checkpoints SET written_at = '2001-01-01'", "missing", "made up"])
async def test_altered_checkpoints_forget_nothing(logged_cell, database, attack):
    """An old time, a checkpoint that is missing, and one with another key's signature are refused. Control: the rows as they were."""
    store = logged_cell.audit_checkpoints
    if attack == "made up":
        stored = await add(store, UUID(int=1), 10, at=LONG_AGO, key=SigningKey(Secret(bytes(32))))
    else:
        stored = await add(store, UUID(int=1), 10, at=NOW if attack.startswith("UPDATE") else LONG_AGO)
    for number in (2, 3):
        await add(store, UUID(int=number), 10, at=NOW)
    await logged_cell.anchors.bucket.write([stored], KEY)
    if attack != "made up":
        statement = (
            "DELETE FROM audit_checkpoints WHERE number = 2" if attack == "missing" else f"{attack} WHERE number = 1"
        )
        async with database.dedicated_transaction() as connection:
            await connection.execute(statement)
    with pytest.raises(IntegrityError, match="not compacted"):
        await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    assert await anchored(logged_cell) == {stored.name: stored}


async def test_a_bucket_that_is_away_is_asked_again(logged_cell, s3):
    """The checkpoints stay until the bucket has forgotten the stream, because they show what it may forget."""
    stored = await add(logged_cell.audit_checkpoints, UUID(int=1), 10, at=LONG_AGO)
    await add(logged_cell.audit_checkpoints, UUID(int=2), 10, at=NOW)
    await logged_cell.anchors.bucket.write([stored, SHARD], KEY)
    s3.fault = (503, "SlowDown")
    with pytest.raises(AnchorUnavailable):
        await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    s3.fault = None
    assert len((await logged_cell.audit_checkpoints.list_checkpoints())[1]) == 2
    await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    assert await anchored(logged_cell) == {SHARD.name: SHARD}
    assert len((await logged_cell.audit_checkpoints.list_checkpoints())[1]) == 1


@pytest.mark.parametrize("is_forgotten", [True, False])
async def test_verification_reports_it_no_longer(logged_cell, tmp_path, is_forgotten):
    """A folder that was lost is missing until the database and the bucket have forgotten its stream. Control: the database alone."""
    store = logged_cell.audit_checkpoints
    lost = await write(tmp_path / "lost", store, settings=replace(PATIENT, now=lambda: LONG_AGO))
    await write(tmp_path / "log", store)
    await logged_cell.anchors.bucket.write([position_of(lost.covered), SHARD], KEY)

    async def missing():
        stated = list((await anchored(logged_cell)).values())
        return [each for each in problems(await report(tmp_path / "log", store, anchored=stated)) if "missing" in each]

    assert len(await missing()) == 1
    if is_forgotten:
        await forget_streams(logged_cell, KEY, before=BEFORE, keep=1)
    else:
        await Witness(store).compact(KEY, keep=1, forget_before=BEFORE)
    assert len(await missing()) == (0 if is_forgotten else 1)


async def test_the_command(config, config_path, database, bucket):
    """`audit prune` forgets a stream in the bucket if a thousand checkpoints were written since its last one."""
    config_path.write_text(config_path.read_text() + bucket.toml())
    async with opened(config) as made:
        key, cell_id = await made.audit_key(), made.keyring.cell_id
    store = AuditCheckpointStore(database)
    old = await add(store, UUID(int=1), 10, at=LONG_AGO, key=key)
    witness, recent = Witness(store), await Witness(store).recent(UUID(int=1))
    number, last = recent.number, recent.hash
    for sequence in range(1, KEPT + 1):
        covered = Checkpoint(UUID(int=2), sequence, GENESIS)
        each = SignedCheckpoint(number + sequence, last, covered, "another host:/audit", 0, NOW).signed(key)
        assert await witness.add(each)
        last = each.hash()
    anchors, used = _bucket(bucket.config(), cell_id), position_of(covered)
    await anchors.write([old, used], key)
    done = await asyncio.to_thread(run_command, config_path.parent, "audit", "prune", environment=ENVIRONMENT)
    assert done.returncode == 0, done
    names = {each.name for each in (await anchors.newest(key.public_key)).positions}
    assert used.name in names
    assert old.name not in names
    await anchors.aclose()
