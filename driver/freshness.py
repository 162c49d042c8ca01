"""Compare a cell's database with what earlier processes have seen, when a process opens the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.journal.images import journal_shards

from .audit import Witness

if TYPE_CHECKING:
    from .access import AccessControl
    from .assembly import Cell


async def read_checkpoints(cell: Cell) -> None:
    """Read the checkpoints of the audit logs, before the first record is written.

    Args:
        cell: The cell.

    Raises:
        AuditUnavailable: The audit log can't be read.
        StorageError: The database can't be read.
    """
    if cell.audit is None:
        version = (await Witness(cell.audit_checkpoints).known()).policy_version
    else:
        await cell.audit.prepare()
        version = cell.audit.policy_version
    cell.access.newest_known = max(cell.access.newest_known, version)


async def check_policy_version(access: AccessControl, *, refuse_older: bool) -> None:
    """Refuse an access policy that is older than one in the audit log or in the checkpoints.

    Args:
        access: The cell's access policy.
        refuse_older: Whether an older policy is refused.

    Raises:
        PolicyRolledBack: The policy is older, or was deleted.
        StorageError: The database can't be read.
    """
    access.accepts_older = not refuse_older
    if refuse_older and access.newest_known:
        await access.refuse_older()


async def keep_verifying(cell: Cell) -> None:
    """Verify the rows of all shards without end, each once within the configured time."""
    shards = journal_shards(cell.config.cell.shard_count)
    await cell.journal.keep_verifying(shards, pause=cell.config.verify_within.total_seconds() / len(shards))
