"""Audit logs whose checkpoints are in a real database."""

from __future__ import annotations

import asyncio

import orjson

from strongroom.driver.audit import AuditLog, Witness
from strongroom.driver.audit.log import opened
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.whole_log import verify_log
from tests.support.audit.logs import KEY, PATIENT, hostile, key


def log_of(root, store, *, settings=PATIENT):
    """Return an audit log that puts its checkpoints into a database."""
    return AuditLog(root, sign=key, witness=Witness(store), settings=settings)


async def write(root, store, records=5, *, settings=PATIENT):
    """Write records as a process does, with a checkpoint after them, and return its log."""
    log = log_of(root, store, settings=settings)
    await log.prepare()
    async with opened(log):
        await asyncio.gather(*(log.record(hostile(number)) for number in range(records)))
        await log.checkpoint()
    return log


async def report(root, store, **options):
    """Verify a log as `audit verify` does."""
    return await verify_log(store, root, public_key=KEY.public_key, **options)


def problems(found):
    """Return everything that a verification names, except for what was accepted."""
    known = found.records.accepted
    return [
        *found.problems,
        *(each.text for each in found.records.breaks if each.identity not in known),
        *(
            f"{each.stream_id}: {each.problem}"
            for each in found.records.streams
            if each.problem and each.identity not in known
        ),
    ]


def records_of(root):
    """Return the fields of all records of a folder."""
    return [orjson.loads(line) for line in read_lines(root)]


def contents(root):
    """Return the content of each segment of a folder."""
    return {path: path.read_bytes() for path in sorted(root.rglob("*.jsonl"))}
