"""Verify the tokens of records in PostgreSQL against the sealed records (DESIGN.md, "Reconciler")."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError, commits_several_times
from strongroom.storage.visibility_rows.records import HASHED_COLUMNS
from strongroom.visibility.index.document import document_tokens, open_documents, seal_documents
from strongroom.visibility.namespace_attributes import stored_types

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage import Row, VisibilityEpochs
    from strongroom.visibility.filter.tree import SearchAttributes
    from strongroom.visibility.index.document_tokens import DocumentTokens
    from strongroom.visibility.index.record import VisibilityRecord

    from .sweep import Progress

PIECE = 200
"""Number of records in one transaction."""
NAMED = 20
"""Maximum number of records of a namespace that are named; all are counted."""


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A record that does not open, by its key in the table `visibility_records`. Nothing in it was written by a tenant.

    Attributes:
        shard_id: The shard, by the number in rows.
        id: The keyed token of workflow and run, 16 bytes in hexadecimal.
    """

    shard_id: int
    id: str

    def __str__(self) -> str:
        return f"run {self.id}, shard {self.shard_id}"


@dataclass(slots=True)
class TokenTally:
    """The result for one namespace.

    Attributes:
        records: Number of records that were read.
        wrong: Number of records whose tokens are wrong, or of an epoch whose key is destroyed.
        repaired: Number of them whose tokens are correct now.
        unreadable: Number of records that do not open. Their tokens can't be verified and are not changed.
        named: The first of them, at most `NAMED`.
    """

    records: int = 0
    wrong: int = 0
    repaired: int = 0
    unreadable: int = 0
    named: list[UnreadableRecord] = field(default_factory=list)

    @property
    def left(self) -> int:
        """The number of records that are wrong or unreadable in the end."""
        return self.wrong - self.repaired + self.unreadable

    def add_unreadable(self, rows: Sequence[Row], opened: Sequence[tuple[Row, VisibilityRecord]]) -> None:
        """Count the rows that were not opened, and name the first ones."""
        found = {(row["shard_id"], row["id"]) for row, _ in opened}
        closed = [row for row in rows if (row["shard_id"], row["id"]) not in found]
        self.unreadable += len(closed)
        self.named += [UnreadableRecord(row["shard_id"], row["id"].hex()) for row in closed[: NAMED - len(self.named)]]


class TokenVerifier:
    """Verifies and repairs the tokens of one namespace per call.

    Args:
        records: The records of all namespaces.
        keyring: The keys of the namespaces.
    """

    def __init__(self, records: VisibilityEpochs, keyring: Keyring) -> None:
        self._records = records
        self._keyring = keyring

    @commits_several_times
    async def run(
        self, namespace_id: UUID, types: SearchAttributes, *, repair: bool = True, progress: Progress | None = None
    ) -> TokenTally:
        """Verify all records of a namespace. Services may write at the same time.

        Args:
            namespace_id: The namespace.
            types: The namespace's custom search attributes.
            repair: Whether to write correct tokens.
            progress: Called with the number of records that were read.

        Raises:
            KmsError, StorageError: Keys or database are unavailable.
            InvalidRecord: An attribute of a record has no known type.
        """
        tally = TokenTally()
        async for rows in self._records.whole(namespace_id, piece=PIECE):
            opened = await open_each(self._keyring, namespace_id, rows)
            keys = await self._keyring.open(namespace_id)
            own_types = types_of(opened, types)
            expected = document_tokens(keys, [(row["k"], record) for row, record in opened], own_types)
            wrong = [
                (row, record)
                for (row, record), tokens in zip(opened, expected, strict=True)
                if tokens != _stored_tokens(row)
            ]
            if wrong and repair:
                tally.repaired += await rewrite_tokens(self._records, keys, wrong, types)
            tally.records += len(rows)
            tally.wrong += len(wrong)
            tally.add_unreadable(rows, opened)
            if progress is not None:
                progress(tally.records)
        return tally


def _stored_tokens(row: Row) -> DocumentTokens:
    return tuple(row["t"]), tuple(row[column] for column in HASHED_COLUMNS)


async def open_each(keyring: Keyring, namespace_id: UUID, rows: Sequence[Row]) -> list[tuple[Row, VisibilityRecord]]:
    """Open rows, and leave out those that do not open. They are opened together first, which is faster."""
    try:
        records = await keyring.with_keys(namespace_id, lambda keys: open_documents(keys, rows))
    except IntegrityError:
        if len(rows) == 1:
            return []
        return [opened for row in rows for opened in await open_each(keyring, namespace_id, [row])]
    return list(zip(rows, records, strict=True))


def types_of(opened: Sequence[tuple[Row, VisibilityRecord]], types: SearchAttributes) -> SearchAttributes:
    """Return the types of the attributes of opened records; see `stored_types`."""
    return stored_types({name for _, record in opened for name in record.search_attributes}, types)


async def rewrite_tokens(
    records: VisibilityEpochs,
    keys: NamespaceKeys,
    opened: Sequence[tuple[Row, VisibilityRecord]],
    types: SearchAttributes,
) -> int:
    """Write opened records with tokens of the active epoch. A record that changed since it was read is left alone.

    Returns:
        The number of records that were written.

    Raises:
        InvalidRecord: An attribute of a record has no known type.
    """
    sealed = seal_documents(
        keys, [(row["shard_id"], row["version"], record) for row, record in opened], types_of(opened, types)
    )
    return await records.rewrite(keys.namespace_id, [row for row, _ in opened], sealed)
