"""The protocol of a search index outside the database, for resealing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from .reseal_progress import Progress


class SealedCopies(Protocol):
    """A search index outside the database, whose documents contain sealed records."""

    async def renew(self, namespace_id: UUID, version: int, progress: Progress) -> int:
        """Write the documents that are sealed with older data keys again, until there are none.

        Args:
            namespace_id: The namespace.
            version: The oldest version of the data key that documents may keep.
            progress: Called with "index" and the number of documents left.

        Returns:
            The largest number of such documents in one pass.

        Raises:
            StrongroomError: Some documents were not renewed.
        """

    async def uses(self, namespace_id: UUID, version: int) -> int:
        """Return the number of documents that are sealed with a version of the data key, or whose version can't be read."""
