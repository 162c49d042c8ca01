"""Entries on their way: what a statement inserts, and what its caller notes of the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.storage.engine.connection import Row


class Ticket(NamedTuple):
    """An entry that a statement inserts.

    Attributes:
        shard_id: The shard.
        number: The number among the writer's entries of the shard.
        entry: The sealed entry.
    """

    shard_id: int
    number: int
    entry: bytes


@dataclass(slots=True)
class OneEntry:
    """The entry of a write that shares its statement with no other one.

    Attributes:
        shard_id: The shard.
        arguments: Writer, number and sealed entry: the columns of the row after the shard.
        refused: Whether the statement did not insert the entry. Its caller sets this.
        digest: The digest of what the entry replaced; None for nothing.
    """

    shard_id: int
    arguments: tuple[UUID, int, bytes]
    refused: bool = False
    digest: bytes | None = None

    @property
    def row(self) -> tuple[int, UUID, int, bytes]:
        """Shard, writer, number and sealed entry: all columns but the last."""
        return self.shard_id, *self.arguments

    @property
    def digests(self) -> dict[int, bytes]:
        """What the entry replaced; see `Entries`."""
        return {} if self.digest is None else {self.shard_id: self.digest}

    def answer(self, row: Row | None) -> None:
        """Note the row that the statement returned: the `digest` of what it replaced, or no row if it did not insert the entry."""
        if row is None:
            self.refused = True
        else:
            self.digest = row["digest"]


@dataclass(slots=True)
class Entries:
    """The entries of a statement that inserts all of them or none.

    Attributes:
        arguments: The writer, and the columns of shards, numbers and sealed entries.
        refused: Whether the statement did not insert them. Its caller sets this.
        digests: The digest of what the entry of a shard replaced, by shard, unless it replaced nothing. The caller adds them.
    """

    arguments: tuple[UUID, list[int], list[int], list[bytes]]
    refused: bool = False
    digests: dict[int, bytes] = field(default_factory=dict)
