"""Compare the database with its anchors, and check the object store and the checkpoints of the audit logs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from strongroom.driver.anchor import advice_for
from strongroom.driver.audit.rows import check_rows
from strongroom.driver.freshness import read_anchors, read_checkpoints
from strongroom.kms import StrongroomError
from strongroom.storage.errors import few

from .report import Finding, about, wrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.driver.anchor.bucket import AnchorBucket
    from strongroom.driver.strongroom import Strongroom

ANCHORS = "Anchors"
_CHECKPOINTS, _DATABASE, _BUCKET, _JOURNAL = "audit checkpoints", "database", "object store", "journal"
_MANY_ENTRIES = 100_000
_EVIDENCE = "Keep copies of the table audit_checkpoints and of the audit log, and run strongroom audit verify."
_LATE = 3
"""Number of intervals after which an anchor is reported as old."""


async def anchors(strongroom: Strongroom) -> AsyncIterator[Finding]:
    """Check that the database is not older than its anchors, and that the anchors work."""
    try:
        checkpoints = await read_checkpoints(strongroom)
        await read_anchors(strongroom, checkpoints)
        key = (await strongroom.audit_key()).public_key
        signed, problems = await asyncio.to_thread(check_rows, checkpoints.statement, checkpoints.rows, key)
        older = await strongroom.anchors.older()
    except StrongroomError as error:
        yield wrong(ANCHORS, _DATABASE, error)
        return
    if problems:
        yield Finding(ANCHORS, _CHECKPOINTS, "; ".join(problems), "wrong", _EVIDENCE)
    else:
        yield Finding(ANCHORS, _CHECKPOINTS, f"{len(signed)} rows, signed and complete")
    if older:
        advice = f"Find out who put an older state back. After a restore on purpose, {advice_for(older)}."
        yield Finding(ANCHORS, _DATABASE, few([each.text for each in older]), "wrong", advice)
    else:
        stated = sorted(each.name for each in strongroom.anchors.known if "/" not in each.name)
        yield Finding(ANCHORS, _DATABASE, f"not older than what is anchored: {', '.join(stated) or 'nothing'}")
    yield await _journal(strongroom)
    yield _bucket(strongroom.anchors.bucket)


async def _journal(strongroom: Strongroom) -> Finding:
    try:
        waiting = await strongroom.journal.waiting()
    except StrongroomError as error:
        return wrong(ANCHORS, _JOURNAL, error)
    text = (
        f"{waiting} entries are not in the sums of their shards yet; strongroom verify compares rows with the journal"
    )
    if waiting < _MANY_ENTRIES:
        return Finding(ANCHORS, _JOURNAL, text)
    advice = "Services fold entries every ten seconds. Find out why they do not: metric strongroom.background.failures."
    return Finding(ANCHORS, _JOURNAL, text, "note", advice)


def _bucket(bucket: AnchorBucket | None) -> Finding:
    if bucket is None:
        return Finding(
            ANCHORS, _BUCKET, "none: the audit log alone is the anchor; docs/how-to/anchors.md describes [anchor]"
        )
    if bucket.work.last_error is not None:
        return wrong(
            ANCHORS, _BUCKET, bucket.work.last_error, "The service works, and an older database may not be noticed."
        )
    age = bucket.age
    if age is None or bucket.found is None:
        text = f"{bucket.url} has object lock and versions, and no anchor yet"
        return Finding(
            ANCHORS, _BUCKET, text, "note", "It is written when something changes, and every interval by a service."
        )
    text = f"{bucket.url} has object lock and versions; anchor {bucket.found.statement.number} is {about(age)} old"
    if age.total_seconds() > _LATE * bucket.interval:
        advice = "If services are running and calls are recorded, find out why they write none: metric strongroom.anchor.age_ratio."
        return Finding(ANCHORS, _BUCKET, text, "note", advice)
    return Finding(ANCHORS, _BUCKET, text)
