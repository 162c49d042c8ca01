"""The files of an audit log and the checkpoints in the database are each verified against the other."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace as replaced
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.driver.audit import LogSettings, Witness, verify_records
from strongroom.driver.audit.checkpoint import NOT_IN_DATABASE
from strongroom.driver.audit.events import BREAK, CHECKPOINT, OPENED, OUTCOME, now
from strongroom.driver.audit.log import opened
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.retention import prune
from strongroom.driver.audit.stream import segments, streams
from strongroom.driver.audit.whole_log import verify_log
from strongroom.kms import IntegrityError
from strongroom.storage import DatabaseUnavailable
from tests.support.audit.disk import Disk
from tests.support.audit.logs import KEY, PATIENT, hostile
from tests.support.audit.witnessed import contents, log_of, problems, records_of, report, write

pytestmark = pytest.mark.integration


def cut(log_root, part=0.5):
    """Cut the only segment of a log off after a part of its lines."""
    (segment,) = log_root.rglob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[: int(len(lines) * part)]))


def replace(log_root):
    """Exchange the records of a log for as many others."""
    (segment,) = log_root.rglob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b"list_workflow", b"LIST_workflow"))
    from tests.audit.test_stream import _rechained  # noqa: PLC0415

    segment.write_bytes(b"".join(_rechained(segment.read_bytes().splitlines(keepends=True), -1)))


def empty(log_root):
    """Leave a segment without a record."""
    cut(log_root, 0)


def prune_without_signature(log_root):
    """Put a made-up statement in the place of the records."""
    (stream,) = (path for _, path in streams(log_root))
    last = records_of(log_root)[-1]
    (segment,) = segments(stream)
    segment.unlink()
    (stream / "base.json").write_bytes(
        b'{"stream":"%b","sequence":%d,"event":"base","covers":%d,"signature":"00","chain":"%b"}'
        % (last["stream"].encode(), last["covers"], last["covers"], last["covered_chain"].encode())
    )


# --- honest


async def test_what_was_written_verifies(log_root, store):
    """Processes one after the other and at the same time leave a log and checkpoints that verify."""
    await write(log_root, store)
    await asyncio.gather(write(log_root, store, 40), write(log_root, store, 40))
    await write(log_root, store)
    found = await report(log_root, store)
    assert problems(found) == []
    assert found.ok
    assert found.checkpoints >= 4
    assert not [each for each in records_of(log_root) if each["event"] == BREAK]


async def test_a_silent_database_holds_up_no_signature(log_root, store, monkeypatch):
    """After `row_seconds` a checkpoint is written to the file alone. A process ends after `last_seconds`."""

    async def silent(*_):
        await asyncio.Event().wait()

    monkeypatch.setattr(Witness, "recent", silent)
    log = log_of(log_root, store, settings=replaced(PATIENT, row_seconds=0.1, last_seconds=0.1))
    async with asyncio.timeout(60), opened(log):
        await log.record(hostile(0))
        await log.checkpoint()
        assert [each["number"] for each in records_of(log_root) if each["event"] == CHECKPOINT] == [NOT_IN_DATABASE]
        await log.record(hostile(1))


@pytest.mark.parametrize("when", ["before the row", "after the row"])
async def test_a_crash_at_a_checkpoint_is_no_break(log_root, store, monkeypatch, when):
    """A process that is killed before or after the row is added leaves no false alarm."""
    log = log_of(log_root, store)
    await log.record(hostile(0))

    async def killed(self, made, add=Witness.add):
        if when == "after the row":
            await add(self, made)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(Witness, "add", killed)
        with pytest.raises(asyncio.CancelledError):
            await log.checkpoint()
    await log.aclose()
    assert problems(await report(log_root, store)) == []
    await write(log_root, store)
    assert problems(await report(log_root, store)) == []
    assert len(streams(log_root)) == 1


async def test_a_database_that_is_away_is_no_break(log_root, store, monkeypatch):
    """While the database can't be reached, checkpoints are in the file only. Later ones cover these records."""

    async def away(*_arguments):
        raise DatabaseUnavailable

    await write(log_root, store)
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "recent", away)
        log = log_of(log_root, store)
        async with opened(log):
            await log.record(hostile(1))
    assert records_of(log_root)[-1]["number"] == 0
    assert problems(await report(log_root, store)) == []
    await write(log_root, store)
    found = await report(log_root, store)
    assert problems(found) == []
    assert found.checkpoints == 2


async def test_an_empty_new_host_is_no_break(log_root, store, tmp_path):
    """A new host begins with an empty folder. The streams of other hosts are named, and not missing."""
    await write(log_root, store)
    await write(tmp_path / "new host", store)
    assert records_of(tmp_path / "new host")[0]["event"] == OPENED
    found = await report(tmp_path / "new host", store, has_other_hosts=True)
    assert problems(found) == []
    assert [found.places[each].endswith(str(log_root)) for each in found.elsewhere] == [True]
    assert "whole stream is missing" in problems(await report(tmp_path / "new host", store))[0], (
        "control: without the option"
    )


async def test_a_full_disk_is_no_break(log_root, store):
    """Records that a full disk refused are written later, and the checkpoints fit."""
    disk = Disk()
    log = log_of(log_root, store, settings=disk.settings())
    await log.prepare()
    async with opened(log):
        await log.record(hostile(0))
        disk.torn = 30
        disk.fails(28, "No space left on device")
        with pytest.raises(Exception, match="No space"):
            await log.record(hostile(1))
        await log.checkpoint()
        disk.works()
        await log.record(hostile(2))
        await log.checkpoint()
    await write(log_root, store)
    assert problems(await report(log_root, store)) == []


async def days(log_root, store, count):
    """Write a log of several days, the last of them today."""
    for back in reversed(range(count)):
        day = datetime.now(UTC) - timedelta(days=back)
        await write(log_root, store, settings=replaced(PATIENT, now=lambda day=day: day))


async def test_pruning_is_no_break(log_root, store):
    """After pruning and compaction the rest verifies, and the next process continues the stream."""
    await days(log_root, store, 6)
    before = datetime.now(UTC) - timedelta(days=2, hours=1)
    assert prune(log_root, before=before, key=KEY)
    assert await Witness(store).compact(KEY, keep=1, forget_before=before) == 5
    assert problems(await report(log_root, store)) == []
    await write(log_root, store)
    found = await report(log_root, store)
    assert problems(found) == []
    assert len(streams(log_root)) == 1
    assert found.records.streams[0].begins > 1


def test_a_signature_over_pruned_records_is_valid(tmp_path):
    """A checkpoint at the beginning of what is left may cover records that were pruned."""

    async def written():
        from strongroom.driver.audit.chain import GENESIS  # noqa: PLC0415
        from strongroom.driver.audit.checkpoint import Checkpoint, SignedCheckpoint, as_event  # noqa: PLC0415
        from strongroom.driver.audit.taking import take  # noqa: PLC0415

        days_ago = [datetime.now(UTC) - timedelta(days=3), datetime.now(UTC)]
        stream = take(tmp_path, LogSettings(now=lambda: days_ago[0])).stream
        for _ in range(3):
            stream.write([{"event": OUTCOME, "at": days_ago[0]}])
        covered = Checkpoint(stream.stream_id, *stream.written)
        stream.write([{"event": OUTCOME, "at": days_ago[0]}])
        made = SignedCheckpoint(0, GENESIS, covered, "a host", 0, now()).signed(KEY)
        del days_ago[0]
        stream.write([as_event(made, public_key=KEY.public_key)])
        stream.close()

    asyncio.run(written())
    assert prune(tmp_path, before=datetime.now(UTC) - timedelta(days=1), key=KEY)
    found = verify_records(read_lines(tmp_path), public_key=KEY.public_key)
    assert found.ok, found


async def test_the_driver_role_may_add_and_compact(strongroom):
    """A service's role has the rights that checkpoints need. Without them each record would have the number 0."""
    store = strongroom.audit_checkpoints
    for _ in range(3):
        await strongroom.audit.record(hostile(0))
        await strongroom.audit.checkpoint()
    key = (await strongroom.keyring.open(strongroom.keyring.cell_id)).audit_key()
    assert await Witness(store).compact(key, keep=1, forget_before=datetime(2000, 1, 1, tzinfo=UTC)) >= 1
    found = await verify_log(store, strongroom.audit.root, public_key=key.public_key)
    assert problems(found) == []
    assert [each["number"] for each in records_of(strongroom.audit.root) if each["event"] == CHECKPOINT][-1] >= 3


# --- with the folder, without the database


@pytest.mark.parametrize("attack", [cut, empty, replace, prune_without_signature])
async def test_a_log_that_was_altered_is_ended(log_root, store, attack):
    """A stream that is not what the database states stays as it is. A new stream begins, and its first record names the break."""
    await write(log_root, store, 20)
    attack(log_root)
    evidence = contents(log_root)
    assert not (await report(log_root, store)).ok
    for _ in range(2):
        await write(log_root, store, 40)
        assert contents(log_root).items() >= evidence.items(), "nothing was appended to the stream"
        assert not (await report(log_root, store)).ok
    named = [each for each in records_of(log_root) if each["event"] == BREAK]
    assert len(named) == 1, "the next process continues the new stream"
    assert named[0]["sequence"] == 1
    assert len(streams(log_root)) == 2


async def test_without_the_comparison_the_log_continues(log_root, store, monkeypatch):
    """Control: a process that does not compare continues in the stream that was cut, and names nothing."""
    await write(log_root, store, 20)
    cut(log_root)
    monkeypatch.setattr("strongroom.driver.audit.taking.find_break", lambda *_: None)
    monkeypatch.setattr("strongroom.driver.audit.own_stream.find_break", lambda *_: None)
    await write(log_root, store, 40)
    assert len(streams(log_root)) == 1
    assert not [each for each in records_of(log_root) if each["event"] == BREAK]
    assert not (await report(log_root, store)).ok, "the rows are only added, so that verification finds it even now"


async def test_a_process_that_began_without_the_database_compares_later(log_root, store):
    """A process that could not read the checkpoints at its start compares before it adds one."""
    await write(log_root, store, 20)
    cut(log_root)
    log = log_of(log_root, store)
    async with opened(log):
        await log.record(hostile(1))
        await log.checkpoint()
    (named,) = (each for each in records_of(log_root) if each["event"] == BREAK)
    assert (named["sequence"], named["reason"]) == (1, "behind")
    assert "behind" not in str(problems(await report(log_root, store)))
    assert any("so it was ended" in each for each in problems(await report(log_root, store)))


async def test_a_stream_that_was_taken_away_is_named(log_root, store, alter):
    """A whole stream that disappears is missing by the database, and by the records of the streams next to it."""
    first = log_of(log_root, store)
    async with opened(first):
        await first.record(hostile(0))
        await write(log_root, store)
        await first.checkpoint()
    await write(log_root, store)
    opener = next(each for each in records_of(log_root) if each["event"] == OPENED and each["streams"])
    taken = opener["streams"][0]
    shutil.rmtree(log_root / f"stream-{taken}")
    assert any(taken in each and "whole stream is missing" in each for each in problems(await report(log_root, store)))
    await write(log_root, store)
    assert any(taken in each.get("absent", []) for each in records_of(log_root))
    alone = verify_records(read_lines(log_root), public_key=KEY.public_key)
    assert [str(each.stream_id) for each in alone.streams if each.problem] == [taken], "without the database"
    await alter("DELETE FROM audit_checkpoints WHERE stream = $1", taken)
    assert any("missing" in each for each in problems(await report(log_root, store)))


async def test_a_copied_folder_is_not_continued_twice(log_root, store, tmp_path):
    """Two hosts that began with the same folder, as a copied machine does, do not share a stream."""
    await write(log_root, store)
    shutil.copytree(log_root, tmp_path / "copy")
    await write(log_root, store, 20)
    await write(tmp_path / "copy", store, 20)
    named = [each for each in records_of(tmp_path / "copy") if each["event"] == BREAK]
    assert [each["reason"] for each in named] == ["behind"]
    assert problems(await report(log_root, store, has_other_hosts=True)) == []


async def test_the_record_of_a_break_outlives_a_full_disk(log_root, store):
    """If the record of a break can't be written, the next process finds the break again."""
    await write(log_root, store, 20)
    cut(log_root)
    disk = Disk()
    disk.fails(28, "No space left on device")
    log = log_of(log_root, store, settings=disk.settings())
    await log.prepare()
    with pytest.raises(Exception, match="No space"):
        await log.record(hostile(1))
    await log.aclose()
    await write(log_root, store)
    assert [each["sequence"] for each in records_of(log_root) if each["event"] == BREAK] == [1]


# --- with the database, without the folder

OLD = "CREATE TABLE IF NOT EXISTS kept AS SELECT * FROM audit_checkpoints"
DATABASE_ATTACKS = {
    "all rows": ("DELETE FROM audit_checkpoints", "missing"),
    "a row in the middle": ("DELETE FROM audit_checkpoints WHERE number = 2", "missing"),
    "the first row": ("DELETE FROM audit_checkpoints WHERE number = 1", "missing"),
    "the last row": ("DELETE FROM audit_checkpoints WHERE number = 4", "missing"),
    "a sequence": (
        "UPDATE audit_checkpoints SET sequence = 1 WHERE number = 4",
        "signature of checkpoint 4 is not valid",
    ),
    "a signature": (
        "UPDATE audit_checkpoints SET signature = decode(repeat('00', 64), 'hex') WHERE number = 3",
        "not valid",
    ),
    "a policy version": ("UPDATE audit_checkpoints SET policy_version = 7 WHERE number = 4", "not valid"),
    "another row": (
        """UPDATE audit_checkpoints AS a SET previous = b.previous, sequence = b.sequence, chain = b.chain, signature = b.signature,
        written_at = b.written_at FROM audit_checkpoints AS b WHERE a.number = 4 AND b.number = 3""",
        "not valid",
    ),
}


@pytest.mark.parametrize("attack", DATABASE_ATTACKS)
async def test_rows_that_were_altered_are_named(log_root, store, alter, attack):
    """A checkpoint that is removed or altered in the database is found from the rows, or from the records."""
    for _ in range(4):
        await write(log_root, store)
    assert (await report(log_root, store)).ok, "control"
    statement, message = DATABASE_ATTACKS[attack]
    await alter(statement)
    assert any(message in each for each in problems(await report(log_root, store)))
    await write(log_root, store)
    assert not (await report(log_root, store)).ok, "the next checkpoint does not hide it"


async def test_an_older_state_of_the_rows_is_named(log_root, store, alter):
    """Rows as they were before do not fit the records, even if later processes add as many again."""
    for _ in range(2):
        await write(log_root, store)
    await alter(OLD)
    for _ in range(2):
        await write(log_root, store)
    await alter("DELETE FROM audit_checkpoints")
    await alter("INSERT INTO audit_checkpoints SELECT * FROM kept")
    assert any(
        "2 checkpoints that records name are missing" in each for each in problems(await report(log_root, store))
    )
    for _ in range(3):
        await write(log_root, store)
    assert any("differ from those that records name" in each for each in problems(await report(log_root, store)))


async def test_a_running_process_names_rows_that_were_put_back(log_root, store, alter):
    """A process records a break when the row that it added last is gone."""
    log = log_of(log_root, store)
    await log.prepare()
    async with opened(log):
        await log.record(hostile(0))
        await log.checkpoint()
        await alter("DELETE FROM audit_checkpoints")
        await log.record(hostile(1))
        await log.checkpoint()
    assert [each["reason"] for each in records_of(log_root) if each["event"] == BREAK] == ["database"]
    assert any("lost checkpoint 1" in each for each in problems(await report(log_root, store)))


async def test_a_compaction_can_not_be_forged(log_root, store, alter):
    """Rows that a compaction keeps can't be altered, an older statement does not fit, and altered rows are not compacted."""
    for _ in range(4):
        await write(log_root, store)
    assert await Witness(store).compact(KEY, keep=2, forget_before=datetime(2000, 1, 1, tzinfo=UTC)) == 2
    assert problems(await report(log_root, store)) == []
    await alter("CREATE TABLE kept_statement AS SELECT * FROM audit_compaction")
    for _ in range(2):
        await write(log_root, store)
    assert await Witness(store).compact(KEY, keep=1, forget_before=datetime(2000, 1, 1, tzinfo=UTC)) == 3
    assert problems(await report(log_root, store)) == []
    await alter("CREATE TABLE newest_statement AS SELECT * FROM audit_compaction")
    for attack in (
        "DELETE FROM audit_compaction",
        "DELETE FROM audit_compaction; INSERT INTO audit_compaction SELECT * FROM kept_statement",
        "UPDATE audit_compaction SET number = 6",
    ):
        for statement in attack.split(";"):
            await alter(statement)
        assert not (await report(log_root, store)).ok, attack
        with pytest.raises(IntegrityError, match="not compacted"):
            await Witness(store).compact(KEY, keep=1)
        await alter("DELETE FROM audit_compaction")
        await alter("INSERT INTO audit_compaction SELECT * FROM newest_statement")
    assert problems(await report(log_root, store)) == [], "control: the newest statement again"


async def test_rows_are_compacted_by_the_way(log_root, store, monkeypatch):
    """A running process bounds the number of rows."""
    monkeypatch.setattr("strongroom.driver.audit.log.COMPACT_EVERY", 5)
    monkeypatch.setattr("strongroom.driver.audit.witness.KEPT", 5)
    monkeypatch.setattr(Witness.compact, "__kwdefaults__", {"keep": 5, "forget_before": None})
    log = log_of(log_root, store)
    await log.prepare()
    async with opened(log):
        for number in range(33):
            await log.record(hostile(number))
            await log.checkpoint()
    found = await report(log_root, store)
    assert problems(found) == []
    assert found.checkpoints <= 15
