"""What writes of visibility records change, for the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.rows import RowImages

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.storage.engine.connection import Row

_IMAGES = RowImages("visibility_records")


def add_record(changes: Changes, namespace_id: UUID, record_id: bytes, clear: tuple[int, ...], sealed: bytes) -> None:
    """Add a record, which may replace an older one, or be left out.

    Args:
        changes: The changes of its shard.
        namespace_id: The namespace.
        record_id: The record.
        clear: Version, epoch, close bucket and start bucket.
        sealed: The sealed record.
    """
    changes.offer(_IMAGES.row(namespace_id, record_id), _IMAGES.tags(sealed, clear=clear))


def deleted_record(namespace_id: UUID, shard_id: int, record_id: bytes) -> Changes:
    """Return the changes of a write that deletes a record."""
    return Changes(shard_id, rows=[_IMAGES.row(namespace_id, record_id)])


def replace_record(changes: Changes, namespace_id: UUID, old: Row, clear: tuple[int, ...], sealed: bytes) -> None:
    """Add a record in place of the stored one.

    Args:
        changes: The changes of its shard.
        namespace_id: The namespace.
        old: Id, version, epoch, buckets and sealed value of the stored record, as it was read and opened.
        clear: Version, epoch, close bucket and start bucket of the new record.
        sealed: The new sealed record.
    """
    stored = (old["version"], old["k"], old["b1"], old["b2"])
    tags = _IMAGES.tags(old["s"], clear=stored), _IMAGES.tags(sealed, clear=clear)
    changes.replace(_IMAGES.row(namespace_id, old["id"]), *tags)
