"""The checks of the audit log and of access control."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from strongroom.driver.access import PolicyRolledBack
from strongroom.driver.audit.events import CHECK, now
from strongroom.driver.config import ADD_AUDIT
from strongroom.kms import StrongroomError
from strongroom.storage.errors import number_of

from .report import Finding, wrong

if TYPE_CHECKING:
    from strongroom.driver.access import Policy
    from strongroom.driver.strongroom import Strongroom

AUDIT, ACCESS = "Audit", "Access"
_ENOUGH = 2**30
"""Free space for the audit log, in bytes. Less than this is a note."""


async def access_control(strongroom: Strongroom) -> Finding:
    """Check the access policy."""
    try:
        policy = await strongroom.access.latest()
    except PolicyRolledBack as error:
        return wrong(ACCESS, "access control", error, "strongroom access review shows the older policy.")
    except StrongroomError as error:
        advice = (
            "If the checks of the database and the keys passed, the policy's row was altered: restore it from a backup."
        )
        return wrong(ACCESS, "access control", error, advice)
    return _on(strongroom, policy) if policy.principals else _off(strongroom)


async def audit_log(strongroom: Strongroom) -> Finding:
    """Check the audit log by writing a record."""
    log, check = strongroom.audit, "audit log"
    if log is None:
        return Finding(AUDIT, check, "none: operations are not recorded", "note", ADD_AUDIT)
    try:
        await log.record({"event": CHECK, "at": now()})
        free = shutil.disk_usage(log.root).free
    except (StrongroomError, OSError) as error:
        advice = (
            "Every operation is recorded, so none works until then, not even one that only reads. Check that this user may write "
            "in the folder and that its disk is not full, or set audit.folder to another one, for example a mounted volume."
        )
        return Finding(AUDIT, check, str(error), "wrong", advice)
    text = f"folder {log.root} can be written, {free / 2**30:.1f} GiB free; strongroom audit verify checks its records"
    if free < _ENOUGH:
        advice = "Make room: sessions are refused when the disk is full. strongroom audit prune deletes records past their retention."
        return Finding(AUDIT, check, text, "note", advice)
    return Finding(AUDIT, check, text)


def _off(strongroom: Strongroom) -> Finding:
    if strongroom.config.access_enforced:
        text = "access.enforce is set, and the database has no access policy"
        advice = "Check that this is the right database. If it is, the policy was deleted: restore it from a backup."
        return Finding(ACCESS, "access control", text, "wrong", advice)
    text = "off: every user who can read this configuration may do anything"
    return Finding(ACCESS, "access control", text, "note", "Turn it on with: strongroom access init NAME")


def _on(strongroom: Strongroom, policy: Policy) -> Finding:
    owners = len(list(policy.holders("owner")))
    text = f"on, {number_of(len(policy.principals), 'principal')}, {number_of(owners, 'owner')}"
    if policy.availability_first:
        text += f"; {len(policy.availability_first)} namespaces work without the audit log"
    advice = [
        "Make another owner, because shredding needs two: strongroom access bind NAME owner." if owners < 2 else "",  # noqa: PLR2004 - two people
        ""
        if strongroom.config.access_enforced
        else "Set enforce = true under [access], so that it holds even if the policy is deleted.",
    ]
    joined = " ".join(filter(None, advice))
    return Finding(ACCESS, "access control", text, "note" if joined else "ok", joined)
