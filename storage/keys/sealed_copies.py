"""What resealing asks of a search index outside the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from .reseal_progress import Progress


class SealedCopies(Protocol):
    """A search index outside the database, which holds copies of sealed records."""

    async def renew(self, namespace_id: UUID, version: int, progress: Progress) -> int:
        """Copy the records of older versions again, until no document of one is left.

        Args:
            namespace_id: The namespace.
            version: Documents of older key versions than this are renewed.
            progress: Called with "index" and the number of documents left.

        Returns:
            The number of documents renewed.

        Raises:
            StrongroomError: Some documents stay.
        """

    async def uses(self, namespace_id: UUID, version: int) -> int:
        """Return the number of documents that use a key version, or whose version can't be read."""
