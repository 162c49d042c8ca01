"""Audit logs for tests."""

from __future__ import annotations

import asyncio

from strongroom.driver.audit import AuditLog, LogSettings
from strongroom.driver.audit.events import OUTCOME, now
from strongroom.driver.audit.log import opened
from strongroom.kms import Secret, SigningKey

KEY = SigningKey(Secret(bytes(range(32))))
PATIENT = LogSettings(write_timeout=120, row_seconds=120, last_seconds=120)
"""Settings of a log that refuses no record, and leaves out no signature, because a machine is busy."""
HOSTILE = (
    "plain",
    'a"b\\c]d',
    "x|y=z|CEF:0|a|b|c|d|e|9|act=forged",
    "line\nbreak\r\n<110>1 - forged - - - -",
    "tab\tnul\x00bell\x07del\x7f",
    "ключ 鍵 🔑 \u2028\u2029",
    'x" forged="y',
    '] [forged@1 a="b"]',
    "\\",
    "=\\=|\\|",
)


def hostile(number):
    """Return a record with hostile strings in every field that a caller can fill."""
    text = HOSTILE[number % len(HOSTILE)]
    return {
        "event": OUTCOME,
        "at": now(),
        "operation": "visibility.list_workflow_executions",
        "principal": f"jwt:{text}",
        "source": text,
        "outcome": "done",
        "request_id": f"{number:016x}",
    }


async def key():
    """Return the key that signs logs."""
    return KEY


async def write_log(root, records, *, event=hostile, settings=PATIENT):
    """Write a log."""
    async with opened(AuditLog(root, sign=key, settings=settings)) as log:
        await asyncio.gather(*(log.record(event(number)) for number in range(records)))
