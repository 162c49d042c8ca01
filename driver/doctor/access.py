"""What `doctor` finds of the audit log and of access control."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from strongroom.driver.audit.events import CHECK, now
from strongroom.driver.config import ADD_AUDIT
from strongroom.kms import StrongroomError

from .report import Finding, wrong

if TYPE_CHECKING:
    from strongroom.driver.access import Policy
    from strongroom.driver.strongroom import Strongroom

AUDIT, ACCESS = "Audit", "Access"
_ENOUGH = 2**30
"""Bytes free for the audit log; below that it will not be long."""


async def access_control(strongroom: Strongroom) -> Finding:
    """Look at who may do what."""
    try:
        policy = await strongroom.access.latest()
    except StrongroomError as error:
        advice = "are database and keys above well? Then its row was altered: restore it from a backup"
        return wrong(ACCESS, "access control", error, advice)
    return _off(strongroom) if policy.version == 0 else _on(strongroom, policy)


async def audit_log(strongroom: Strongroom) -> Finding:
    """Look at the audit log, by writing to it."""
    log, check = strongroom.audit, "audit log"
    if log is None:
        return Finding(AUDIT, check, "none: nothing tells who did what", "note", ADD_AUDIT)
    try:
        await log.record({"event": CHECK, "at": now()})
        free = shutil.disk_usage(log.root).free
    except (StrongroomError, OSError) as error:
        advice = "is its folder there, this user's, and its disk not full? Until it is, whatever must be told to it is refused"
        return Finding(AUDIT, check, str(error), "wrong", advice)
    text = (
        f"folder {log.root} can be written, {free / 2**30:.1f} GiB free; strongroom audit verify looks at what is in it"
    )
    if free < _ENOUGH:
        advice = "make room: when it is full, sessions are refused. strongroom audit prune drops what need not be kept"
        return Finding(AUDIT, check, text, "note", advice)
    return Finding(AUDIT, check, text)


def _off(strongroom: Strongroom) -> Finding:
    if strongroom.config.access_enforced:
        text = "the configuration says access.enforce, and the database has no policy"
        advice = "is it the right database? If it is, somebody took the policy away: restore it from a backup"
        return Finding(ACCESS, "access control", text, "wrong", advice)
    text = "off: whoever can read this configuration may do anything"
    return Finding(ACCESS, "access control", text, "note", "turn it on: strongroom access init NAME")


def _on(strongroom: Strongroom, policy: Policy) -> Finding:
    owners = len(list(policy.holders("owner")))
    text = f"on, {len(policy.principals)} principals, {owners} owners"
    if policy.availability_first:
        text += f"; {len(policy.availability_first)} namespaces go on without the audit log"
    advice = [
        "make another owner, as one alone can shred nothing: strongroom access bind NAME owner" if owners < 2 else "",  # noqa: PLR2004 - two people
        ""
        if strongroom.config.access_enforced
        else "say enforce = true under [access], so that it holds without the database too",
    ]
    said = "; ".join(filter(None, advice))
    return Finding(ACCESS, "access control", text, "note" if said else "ok", said)
