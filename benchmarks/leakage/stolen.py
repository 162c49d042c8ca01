"""What a thief sees of an index: the columns in clear and the tokens of each document, made by the product itself."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import KeyClass, NamespaceKeys, Secret, Suite
from strongroom.kms.keys.data_key import DataKey
from strongroom.visibility.index.buckets import OPEN_RUN
from strongroom.visibility.index.document import seal_documents

from .service import CUSTOM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.visibility import Layout, VisibilityRecord


@dataclass(frozen=True, slots=True)
class Document:
    """A document as a thief sees it.

    Attributes:
        closed: The close bucket; None for an open run.
        started: The start bucket.
        length: The length of the sealed record in bytes.
        tokens: The tokens; those of a column of their own with the name of the column.
    """

    closed: int | None
    started: int
    length: int
    tokens: tuple[tuple[str, int], ...]


def keys_of(layout: Layout, secret: str) -> NamespaceKeys:
    """Return the keys of a namespace with one epoch, all made from a text."""

    def root(name: str) -> Secret:
        return Secret(hashlib.sha256(f"{secret} {name}".encode()).digest())

    return NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: DataKey(root("data"), version=1, suite=Suite.XAES_256_GCM)},
        index={1: root("index")},
        identity={1: root("identity")},
        active={KeyClass.INDEX: 1, KeyClass.DATA: 1, KeyClass.IDENTITY: 1},
        layouts={1: str(layout)},
    )


def stolen(records: Sequence[VisibilityRecord], layout: Layout, secret: str) -> list[Document]:
    """Seal records, and return what the index shows of them."""
    rows = seal_documents(keys_of(layout, secret), [(1, place, each) for place, each in enumerate(records)], CUSTOM)
    return [
        Document(
            closed=None if row.close_bucket == OPEN_RUN else row.close_bucket,
            started=row.start_bucket,
            length=len(row.sealed),
            tokens=(
                *(("", token) for token in row.tokens),
                *((f"h{place}", token) for place, token in enumerate(row.hashes) if token is not None),
            ),
        )
        for row in rows
    ]


def shares(documents: Sequence[Document]) -> dict[tuple[str, int], float]:
    """Return the share of the documents that have each token."""
    counts = Counter(token for document in documents for token in document.tokens)
    return {token: count / len(documents) for token, count in counts.items()}
