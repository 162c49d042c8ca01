"""Hold the tokens that stand beside the records in PostgreSQL against those that the sealed records give (DESIGN.md, "Reconciler")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError
from strongroom.storage import HASHED_COLUMNS
from strongroom.visibility.index.document import document_tokens, open_documents, seal_documents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage import Row, VisibilityEpochs
    from strongroom.visibility.filter.tree import SearchAttributes
    from strongroom.visibility.index.record import VisibilityRecord

    from .indexer import Progress

PIECE = 200
"""Records in one transaction."""


@dataclass(slots=True)
class TokenTally:
    """What was found in a namespace.

    Attributes:
        records: looked at.
        wrong: whose tokens were others than their sealed record gives, or of an epoch whose key is gone.
        repaired: of them those that have the right tokens now.
        unreadable: that do not open; nothing can be said of their tokens, and nothing is changed.
    """

    records: int = 0
    wrong: int = 0
    repaired: int = 0
    unreadable: int = 0

    @property
    def left(self) -> int:
        """How many are not as they should be in the end."""
        return self.wrong - self.repaired + self.unreadable


class TokenAudit:
    """Compares and repairs, one namespace a call.

    Args:
        records: of all namespaces.
        keyring: for their keys.
    """

    def __init__(self, records: VisibilityEpochs, keyring: Keyring) -> None:
        self._records = records
        self._keyring = keyring

    async def run(
        self, namespace_id: UUID, types: SearchAttributes, *, repair: bool = True, progress: Progress | None = None
    ) -> TokenTally:
        """Go through all records of a namespace; services may go on writing meanwhile.

        Args:
            namespace_id: whose.
            types: its custom search attributes.
            repair: whether to write the right tokens, or to look only.
            progress: called with how many records were looked at.

        Raises:
            KmsError, StorageError: keys or database can't be had.
        """
        tally = TokenTally()
        async for rows in self._records.whole(namespace_id, piece=PIECE):
            opened = await open_each(self._keyring, namespace_id, rows)
            keys = await self._keyring.open(namespace_id)
            right = document_tokens(keys, [(row["k"], record) for row, record in opened], types)
            wrong = [each for each, tokens in zip(opened, right, strict=True) if tokens != _stored(each[0])]
            if wrong and repair:
                tally.repaired += await rewrite_tokens(self._records, keys, wrong, types)
            tally.records += len(rows)
            tally.wrong += len(wrong)
            tally.unreadable += len(rows) - len(opened)
            if progress is not None:
                progress(tally.records)
        return tally


def _stored(row: Row) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Return the tokens that a row has, those of the bag and those of the columns."""
    return tuple(row["t"]), tuple(row[column] for column in HASHED_COLUMNS)


async def open_each(keyring: Keyring, namespace_id: UUID, rows: Sequence[Row]) -> list[tuple[Row, VisibilityRecord]]:
    """Open those of some rows that open, together where all of them do."""
    try:
        records = await keyring.with_keys(namespace_id, lambda keys: open_documents(keys, rows))
    except IntegrityError:
        if len(rows) == 1:
            return []
        return [opened for row in rows for opened in await open_each(keyring, namespace_id, [row])]
    return list(zip(rows, records, strict=True))


async def rewrite_tokens(
    records: VisibilityEpochs,
    keys: NamespaceKeys,
    opened: Sequence[tuple[Row, VisibilityRecord]],
    types: SearchAttributes,
) -> int:
    """Write opened records with tokens of the active epoch, each unless it changed since it was read; return how many."""
    sealed = seal_documents(keys, [(row["shard_id"], row["version"], record) for row, record in opened], types)
    return await records.rewrite(keys.namespace_id, [row for row, _ in opened], sealed)
