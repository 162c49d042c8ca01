"""The statements of positions in an audit log: a process that starts reads back to the last complete one, and no further."""

from __future__ import annotations

from itertools import takewhile

import pytest

from strongroom.driver.audit import AuditLog, anchored, statement
from strongroom.driver.audit.anchored import logged_positions
from strongroom.driver.audit.log import opened
from strongroom.storage.cell.positions import Position
from tests.support.audit.logs import KEY, PATIENT, hostile, key

POSITIONS = [Position(f"shard/{number}", 7, bytes(32)) for number in range(20)]


@pytest.fixture
def read(monkeypatch):
    """The records that a reader parses."""
    found = []

    def parse(line, original=anchored.parse):
        found.append(line)
        return original(line)

    monkeypatch.setattr(anchored, "parse", parse)
    monkeypatch.setattr(anchored, "_MARKS", (b"",))  # every record is parsed, so every record is counted
    return found


async def present():
    """Return positions that never change."""
    return POSITIONS


async def write_busy_log(root, checkpoints):
    """Write a log whose positions do not change, with 100 records before each checkpoint."""
    async with opened(AuditLog(root, sign=key, settings=PATIENT)) as log:
        log.positions = present
        for _ in range(checkpoints):
            for number in range(99):
                log.note(hostile(number))
            await log.record(hostile(99))
            await log.checkpoint()


@pytest.mark.parametrize(("for_each", "limit"), [(1, 300), (30, 600)])
async def test_a_reader_of_a_busy_log_finds_a_complete_statement_soon(tmp_path, read, monkeypatch, for_each, limit):
    """All positions are stated again after a number of records, which grows with the number of positions."""
    monkeypatch.setattr(statement, "RECORDS", 300)
    monkeypatch.setattr(statement, "RECORDS_FOR_EACH", for_each)
    await write_busy_log(tmp_path, 20)
    found = logged_positions(tmp_path, KEY.public_key)
    assert list(found.positions.values()) == sorted(POSITIONS, key=lambda each: each.name)
    assert len(read) <= limit + 100 + 10
    complete = len(list(takewhile(lambda line: b'"event":"anchor"' not in line, read)))
    assert complete == len(read) - 1, "the first statement from the end is complete, and ends the reading"


async def test_few_records_repeat_no_statement(tmp_path, read):
    """A log with few records has its positions once."""
    await write_busy_log(tmp_path, 3)
    logged_positions(tmp_path, KEY.public_key)
    assert sum(b'"event":"anchor"' in line for line in read) == 1
    assert len(read) > 200, "it is the first one, after 100 records"
