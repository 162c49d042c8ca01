"""What `doctor` finds of the audit log and of access control."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from strongroom.kms import StrongroomError

from .audit.events import CHECK, now
from .finding import Finding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .strongroom import Strongroom

_ENOUGH = 2**30
"""Bytes free for the audit log; below that it will not be long."""


async def guards(strongroom: Strongroom) -> AsyncIterator[Finding]:
    """Look at the audit log, by writing to it, and at who may do what."""
    log = strongroom.audit
    if log is None:
        text = 'none: nothing tells who did what; add [audit] with folder = "audit" to the configuration'
        yield Finding("audit log", ok=True, text=text, soon=True)
    else:
        try:
            await log.record({"event": CHECK, "at": now()})
            free = shutil.disk_usage(log.root).free
            text = f"{log.root} can be written, {free / 2**30:.1f} GiB free; `strongroom audit verify` checks it"
            yield Finding("audit log", ok=True, text=text, soon=free < _ENOUGH)
        except (StrongroomError, OSError) as error:
            yield Finding("audit log", ok=False, text=str(error))
    try:
        policy = await strongroom.access.latest()
    except StrongroomError as error:
        yield Finding("access control", ok=False, text=str(error))
        return
    if policy.version == 0:
        if strongroom.config.access_enforced:
            text = "the configuration says access.enforce, and the database has no policy: it was taken away, or is another's"
            yield Finding("access control", ok=False, text=text)
        else:
            text = "off: whoever can read this configuration may do anything; turn it on with `strongroom access init NAME`"
            yield Finding("access control", ok=True, text=text)
        return
    owners = len(list(policy.holders("owner")))
    facts = [
        f"on, {len(policy.principals)} principals, {owners} owners",
        "one owner alone can shred nothing: make another" if owners < 2 else "",  # noqa: PLR2004 - two people
        ""
        if strongroom.config.access_enforced
        else "say enforce = true under [access], so that it holds without the database too",
        f"{len(policy.availability_first)} namespaces go on without the audit log" if policy.availability_first else "",
    ]
    yield Finding("access control", ok=True, text="; ".join(filter(None, facts)))
