"""Compare a cell's database with what anchors outside of it state, when a process opens the cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.kms import RegistryAltered, StrongroomError
from strongroom.storage.cell.positions import POLICY, REGISTRY, UNKNOWN
from strongroom.storage.errors import StorageError
from strongroom.storage.journal.images import journal_shards
from strongroom.storage.journal.position import shard_of
from strongroom.storage.keys.store import heads_of

from .anchor import older_than_anchor, writing
from .audit import Witness
from .audit.positions import AUDIT, position_of
from .audit.witness import KEPT
from .cell_keys import audit_key

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from datetime import datetime

    from strongroom.kms import SigningKey

    from .assembly import Cell
    from .audit.witness import Known


async def read_checkpoints(cell: Cell) -> Known:
    """Read the checkpoints of the audit logs, before the first record is written.

    Args:
        cell: The cell.

    Raises:
        StorageError: The database can't be read.
    """
    known = None if cell.audit is None else await cell.audit.prepare()
    return known or await Witness(cell.audit_checkpoints).known()


async def read_anchors(cell: Cell, checkpoints: Known) -> None:
    """Read the newest anchored positions, and the highest version of the access policy that is known.

    If the KMS can't be reached, unsigned records count too. Nothing of the cell is opened then.

    Args:
        cell: The cell.
        checkpoints: The answer of `read_checkpoints`.

    Raises:
        AuditUnavailable: The audit log can't be read.
    """
    public_key = await _public_key(cell)
    await cell.anchors.read(public_key, checkpoints=checkpoints)
    _refuse_older_policies(cell)
    if cell.audit is not None and public_key is not None:
        cell.audit.policy_version = max(cell.audit.policy_version, cell.access.newest_known)
        known = (each for each in cell.anchors.known if each.digest != UNKNOWN and not each.name.startswith(AUDIT))
        cell.audit.stated.known = {each.name: each for each in known}


async def refuse_older(cell: Cell, *, accept: bool) -> None:
    """Refuse a database that is older than an anchored state, now and while this process runs.

    Args:
        cell: The cell, whose anchors were read.
        accept: Whether an older database is used nevertheless, by commands that examine or accept it.

    Raises:
        OlderThanAnchor: The database is older. The error names the states in it and the anchored ones.
        PolicyRolledBack: Only the access policy is older, or it was deleted.
        StorageError: The database can't be read.
    """
    cell.access.accepts_older = accept
    if accept:
        return
    older = await cell.anchors.older()
    if older and all(each.found.name == POLICY for each in older):
        await cell.access.refuse_older()
    if older:
        raise older_than_anchor(older)
    _refuse_older_keys_and_shards(cell)


def _refuse_older_policies(cell: Cell) -> None:
    """Refuse a policy that is older than the anchored one, each time that this process reads the policy."""
    policy = cell.anchors.newest(POLICY)
    if policy is not None:
        cell.access.newest_known = max(cell.access.newest_known, policy.number)
        cell.access.anchored = policy


def _refuse_older_keys_and_shards(cell: Cell) -> None:
    """Refuse a registry, and sums of shards, that are older than the anchored ones, each time that this process reads them."""
    registry = cell.anchors.newest(REGISTRY)
    if registry is not None:
        heads_of(cell.keyring).anchored(registry)
    for position in cell.anchors.known:
        shard_id = shard_of(position.name)
        if shard_id is not None:
            cell.journal.journal.has_seen(shard_id, position.number)


def work_on_rows(cell: Cell) -> list[Coroutine[Any, Any, None]]:
    """Return the endless background work on rows: folding entries, and verifying all shards within the configured time.

    A process that examines an older database does neither, so that the database stays as a person has seen it.
    """
    if cell.access.accepts_older:
        return []
    shards = journal_shards(cell.config.cell.shard_count)
    pause = cell.config.verify_within.total_seconds() / len(shards)
    return [cell.journal.keep_folding(), cell.journal.keep_verifying(shards, pause=pause)]


def new_writing(cell: Cell) -> writing.Writing | None:
    """Return the writing of anchors into the cell's object store; None without one, or if an older database is examined.

    Args:
        cell: The cell.
    """
    return None if cell.access.accepts_older else _writing(cell)


async def anchor_change(cell: Cell) -> None:
    """Write an anchor into the object store after a command that changed the cell.

    It waits longer than a process that ends. A process that was opened with `accept_older` writes no other anchor.
    Nothing is written while the database is older than an anchored state.

    Args:
        cell: The cell.
    """
    made = _writing(cell)
    if made is not None:
        await made.write_within(writing.CHANGE_SECONDS)


async def forget_streams(cell: Cell, key: SigningKey, *, before: datetime, keep: int = KEPT) -> None:
    """Delete checkpoints that newer ones replace, and those of audit streams that nobody has written for long.

    The object store forgets these streams first, because the signed checkpoints show which ones it may forget. So if the object store
    can't be written, the checkpoints stay, and the next call does both.

    Args:
        cell: The cell.
        key: The cell's audit key.
        before: Time before which a stream was written last.
        keep: Number of newest checkpoints to keep.

    Raises:
        AnchorUnavailable: The object store can't be read or written.
        IntegrityError: The checkpoints were changed.
        StorageError: The database can't be used.
    """
    witness = Witness(cell.audit_checkpoints)
    if cell.anchors.bucket is not None:
        unused = await witness.unused(key.public_key, since=before, keep=keep)
        await cell.anchors.forget([position_of(each) for each in unused], key)
    await witness.compact(key, keep=keep, forget_before=before)


def _writing(cell: Cell) -> writing.Writing | None:
    if cell.anchors.bucket is None:
        return None

    def refused() -> None:
        _refuse_older_policies(cell)
        _refuse_older_keys_and_shards(cell)

    return writing.Writing(cell.anchors, lambda: audit_key(cell.keyring), refused)


async def _public_key(cell: Cell) -> bytes | None:
    """Return the public key of the cell's audit log; None if the cell's keys can't be opened now."""
    try:
        return (await audit_key(cell.keyring)).public_key
    except (RegistryAltered, StorageError):
        raise  # a database that alters or locks the cell's keys must not keep the anchors from being read
    except StrongroomError:
        return None
