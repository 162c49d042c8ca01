"""Documents of a search index as they are compared with their records."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.storage import RunKey


class Drift(StrEnum):
    """How a document differs from its record. If several values apply, the first one is used."""

    MISSING = "missing"
    VERSION = "of another version"
    BUCKET = "with another epoch or bucket"
    RECORD = "with another sealed record"
    NAMESPACE = "in another namespace"
    TOKENS = "without some of its tokens"


@dataclass(frozen=True, slots=True)
class DocumentCopy:
    """A document, identified by name, version and routing, with the fields that lead to its record.

    Attributes:
        name: The document's id in the index.
        id: The id of the record; None if the name can't be that of a record.
        version: The version of the document.
        routing: The routing that the document was sent with; None for all documents that strongroom writes.
        close_bucket: The close bucket; None if the document has no single one.
        start_bucket: The start bucket; None if the document has no single one.
    """

    name: str
    id: bytes | None
    version: int
    routing: str | None
    close_bucket: int | None
    start_bucket: int | None


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a record and its document.

    Attributes:
        drift: The kind of the difference.
        copies: The documents of the record; empty if there are none.
    """

    drift: Drift
    copies: tuple[DocumentCopy, ...]


@dataclass(frozen=True, slots=True)
class SealedCopy:
    """The data key that a document is sealed with.

    Attributes:
        key: The key of the document's record; None if the document has no such key.
        version: The version of the data key; 0 if the document is not in the sealed format.
    """

    key: RunKey | None
    version: int
