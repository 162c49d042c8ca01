"""Many callers share a write, acknowledged records survive a kill, and a failing disk refuses callers and loses nothing."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.driver.audit import AuditLog, AuditUnavailable, verify_records
from strongroom.driver.audit.events import OUTCOME, now
from strongroom.driver.audit.log import opened
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.retention import prune
from strongroom.driver.audit.stream import parse, segments
from tests.support.audit.disk import Disk
from tests.support.audit.logs import KEY, PATIENT, key, write_log

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.support.audit.logs import PATIENT, hostile, key
from strongroom.driver.audit import AuditLog
from strongroom.driver.audit.log import opened

async def caller(log, number):
    while True:
        caller.count += 1
        name = f"{number}-{caller.count}"
        await log.record({**hostile(number), "request_id": name})
        print(name, flush=True)

async def main():
    caller.count = int(sys.argv[2])
    async with opened(AuditLog(Path(sys.argv[1]), sign=key, settings=PATIENT)) as log:
        await asyncio.gather(*(caller(log, number) for number in range(8)))

asyncio.run(main())
"""


def acknowledged_until_killed(root, start, records):
    """Run a writer, kill it after a number of records, and return the records that were acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, root, str(start)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    with process.stdout as output:
        told = [line.strip() for _, line in zip(range(records), output, strict=False)]
        process.send_signal(signal.SIGKILL)
        told += [line.strip() for line in output if line.endswith("\n")]
    process.wait()
    return told


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    """Ten times on one stream: no acknowledged record is lost, the chain holds, and the next process goes on."""
    told = []
    for turn in range(10):
        told += acknowledged_until_killed(tmp_path, 10**6 * turn, 50 + 37 * turn)
    lines = list(read_lines(tmp_path))
    kept = {parse(line)[0].get("request_id") for line in lines}
    assert len(told) > 1000
    assert set(told) <= kept
    found = verify_records(lines, public_key=KEY.public_key)
    assert found.ok
    assert len(found.streams) == 1


async def test_callers_share_a_write(tmp_path):
    """A thousand callers at once do not wait for a thousand writes; and each write is on disk when it returns."""
    disk, flags = Disk(), set()

    def counted(file, *arguments):
        flags.add(fcntl.fcntl(file, fcntl.F_GETFL) & os.O_DSYNC)
        return disk.append(file, *arguments)

    await write_log(tmp_path, 1000, settings=replace(PATIENT, append=counted))
    assert flags == {os.O_DSYNC}
    assert 0 < disk.writes < 20
    assert verify_records(read_lines(tmp_path)).records >= 1001


async def test_a_full_disk_refuses_and_then_goes_on(tmp_path):
    """At the operating system's limit on the size of files callers get typed errors, and nothing is lost or torn."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    done = refused = 0
    async with opened(AuditLog(tmp_path, sign=key, settings=PATIENT)) as log:
        await log.record({"event": OUTCOME, "at": now(), "request_id": "first"})
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        try:
            for number in range(12):
                try:
                    await log.record({"event": OUTCOME, "at": now(), "request_id": str(number)})
                    done += 1
                except AuditUnavailable:
                    refused += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        assert done > 0
        assert refused > 0
        await log.record({"event": OUTCOME, "at": now(), "request_id": "last"})
    found = verify_records(read_lines(tmp_path), public_key=KEY.public_key)
    assert found.ok
    kept = {parse(line)[0].get("request_id") for line in read_lines(tmp_path)}
    assert {"first", "last", *map(str, range(12))} <= kept, "refused records are written later"


async def test_a_folder_that_can_not_be_used(tmp_path):
    """A folder that can't be used refuses the first record; later records are written once it can be used."""
    (tmp_path / "log").write_text("a file")
    log = AuditLog(tmp_path / "log", settings=PATIENT)
    with pytest.raises(AuditUnavailable, match="can't be written"):
        await log.record({"event": OUTCOME})
    (tmp_path / "log").unlink()
    await log.record({"event": OUTCOME})
    await log.aclose()
    assert verify_records(read_lines(tmp_path / "log")).records == 3


async def test_a_log_that_is_moved_away_is_noticed(tmp_path):
    """A log that was moved away is not written to."""
    log = AuditLog(tmp_path / "log", settings=PATIENT)
    await log.record({"event": OUTCOME, "at": now()})
    (tmp_path / "log").rename(tmp_path / "away")
    await asyncio.sleep(1)  # it looks once a second
    with pytest.raises(AuditUnavailable):
        await log.record({"event": OUTCOME, "at": now()})
    (tmp_path / "away").rename(tmp_path / "log")
    await log.record({"event": OUTCOME, "at": now()})
    await log.aclose()
    assert verify_records(read_lines(tmp_path / "log")).ok


async def test_a_caller_that_gives_up_cancels_nobody(tmp_path):
    """A caller that is cancelled while it waits does not affect the others."""
    async with opened(AuditLog(tmp_path, sign=key, settings=PATIENT)) as log:
        calls = [asyncio.create_task(log.record({"event": OUTCOME, "n": number})) for number in range(50)]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(each, asyncio.CancelledError) for each in done] == [number % 2 == 0 for number in range(50)]
    assert verify_records(read_lines(tmp_path)).ok


async def test_signatures_come_by_number_and_at_the_end(tmp_path):
    """The log is signed after a thousand records, and when the process ends."""
    async with opened(AuditLog(tmp_path, sign=key, settings=PATIENT)) as log:
        for _ in range(3):
            await asyncio.gather(*(log.record({"event": OUTCOME, "at": now()}) for _ in range(1000)))
            await asyncio.sleep(0.05)
    found = verify_records(read_lines(tmp_path), public_key=KEY.public_key)
    assert found.ok
    assert found.streams[0].signed >= 3001
    signatures = [line for line in read_lines(tmp_path) if b'"event":"checkpoint"' in line]
    assert 2 <= len(signatures) <= 4


# --- retention


async def days(root, count):
    """Write a log of several days, the last of them today."""
    for back in reversed(range(count)):
        day = datetime.now(UTC) - timedelta(days=back)
        log = AuditLog(root, sign=key, settings=replace(PATIENT, now=lambda day=day: day))
        for number in range(5):
            await log.record({"event": OUTCOME, "at": day, "request_id": f"{back}-{number}"})
        await log.checkpoint()
        await log.aclose()


async def test_what_is_left_after_pruning_verifies(tmp_path):
    """The records after the pruned ones verify with the signed statement, also from an export."""
    await days(tmp_path, 10)
    assert verify_records(read_lines(tmp_path), public_key=KEY.public_key).ok, "control"
    before = datetime.now(UTC) - timedelta(days=4, hours=1)
    assert prune(tmp_path, before=before, key=KEY, dry_run=True) == prune(tmp_path, before=before, key=KEY)
    lines = list(read_lines(tmp_path))
    found = verify_records(lines, public_key=KEY.public_key)
    assert found.ok
    assert found.streams[0].begins > 20
    kept = {parse(line)[0].get("request_id") for line in lines}
    assert {f"{back}-0" for back in range(5)} <= kept
    assert not {f"{back}-0" for back in range(5, 10)} & kept
    await write_log(tmp_path, 10)
    assert verify_records(read_lines(tmp_path), public_key=KEY.public_key).ok
    assert not prune(tmp_path, before=before, key=KEY), "again: nothing"


async def test_a_beginning_that_nobody_signed_away_is_missing(tmp_path):
    """A deleted file is reported, and a statement that is altered or signed by another key does not count."""
    await days(tmp_path, 4)
    (folder,) = tmp_path.iterdir()
    first, *_ = segments(folder)
    content = first.read_bytes()
    first.unlink()
    (stream,) = verify_records(read_lines(tmp_path), public_key=KEY.public_key).streams
    assert stream.problem.startswith("records 1 to ")
    first.write_bytes(content)
    from strongroom.kms import Secret, SigningKey  # noqa: PLC0415

    prune(tmp_path, before=datetime.now(UTC) - timedelta(days=1), key=SigningKey(Secret(bytes(32))))
    (stream,) = verify_records(read_lines(tmp_path), public_key=KEY.public_key).streams
    assert "not signed by the audit key" in stream.problem
    base = folder / "base.json"
    base.write_bytes(base.read_bytes().replace(b'"sequence":', b'"sequence":1'))
    assert not verify_records(read_lines(tmp_path)).ok


async def test_pruning_that_was_broken_off_is_finished_by_the_next(tmp_path):
    """Pruning that was interrupted leaves a valid log, and the next run finishes it."""
    await days(tmp_path, 6)
    (folder,) = tmp_path.iterdir()
    kept = {path.name: path.read_bytes() for path in segments(folder)}
    before = datetime.now(UTC) - timedelta(days=2, hours=1)
    prune(tmp_path, before=before, key=KEY)
    for name in list(kept)[1:3]:
        (folder / name).write_bytes(kept[name])
    assert verify_records(read_lines(tmp_path), public_key=KEY.public_key).ok
    prune(tmp_path, before=before, key=KEY)
    assert verify_records(read_lines(tmp_path), public_key=KEY.public_key).ok
