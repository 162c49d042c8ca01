"""What writes of the namespace table change, for the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.journal.entry import Changes
from strongroom.storage.journal.images import CELL
from strongroom.storage.journal.rows import RowImages

if TYPE_CHECKING:
    from uuid import UUID

_IMAGES = RowImages("namespaces")


def replaced_namespace(
    namespace_id: UUID,
    old: tuple[bytes | None, bytes | None] | None,
    new: tuple[bytes | None, bytes | None],
) -> Changes:
    """Return the changes of a write to a namespace's row.

    Args:
        namespace_id: The namespace.
        old: The former sealed details and data; None for a new namespace.
        new: The sealed details and data.
    """
    changes = Changes(CELL)
    changes.replace(_IMAGES.row(namespace_id), None if old is None else _IMAGES.tags(*old), _IMAGES.tags(*new))
    return changes
