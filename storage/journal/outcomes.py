"""What a process knows of its entries of a shard: which were committed, and what they replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from .entry import NO_DIGESTS, NOTHING_REPLACED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Settled(Enum):
    """The outcome of an entry."""

    COMMITTED = auto()
    REFUSED = auto()
    """The statement was rolled back, or did not insert the entry."""
    UNKNOWN = auto()
    """The statement may have been committed."""


@dataclass(slots=True)
class Outcomes:
    """The outcomes of the entries of one shard.

    Attributes:
        last: The last number.
        in_flight: The entries that are not settled, in ascending order.
        refused: Those that were not committed.
        unknown: Those that may have been committed.
        replaced: The digests of committed entries that replaced rows, until they are folded.
        unconfirmed: The part of them that no other entry has, as far as is known.
        confirming: The part of them that an entry in flight has, by the number of this entry, after the lowest number in it.
    """

    last: int = 0
    in_flight: dict[int, None] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    replaced: dict[int, bytes] = field(default_factory=dict)
    unconfirmed: dict[int, bytes] = field(default_factory=dict)
    confirming: dict[int, tuple[int, dict[int, bytes]]] = field(default_factory=dict)

    def begin(self) -> int:
        """Return the number of a new entry. It confirms what no other entry does."""
        self.last += 1
        self.in_flight[self.last] = None
        if self.unconfirmed:
            self.confirming[self.last] = min(self.unconfirmed), self.unconfirmed
            self.unconfirmed = {}
        return self.last

    def known(self) -> tuple[int, Sequence[int], Sequence[int]]:
        """Return the first three fields of an `Entry` that has the digests of all entries."""
        settled = next(iter(self.in_flight), self.last + 1)
        return settled, sorted(self.refused) if self.refused else (), sorted(self.unknown) if self.unknown else ()

    def noted(self) -> tuple[int, Sequence[int], Sequence[int], Mapping[int, bytes]]:
        """Return the first three fields of the `Entry` that was begun last, and its digests. Other entries in flight may have more."""
        settled, refused, unknown = self.known()
        digests = NO_DIGESTS
        for number, (first, confirmed) in self.confirming.items():
            if number == self.last:
                digests = confirmed
            elif first < settled:
                settled = first
        return settled, refused, unknown, digests

    def settle(self, number: int, settled: Settled, digest: bytes) -> None:
        """Note the outcome of an entry, and the digest of what it replaced."""
        self.in_flight.pop(number, None)
        _, confirmed = self.confirming.pop(number, (0, NO_DIGESTS))
        if settled is Settled.COMMITTED:
            if digest != NOTHING_REPLACED:
                self.replaced[number] = self.unconfirmed[number] = digest
            return
        (self.refused if settled is Settled.REFUSED else self.unknown).add(number)
        for each in confirmed.keys() & self.replaced.keys():
            self.unconfirmed[each] = confirmed[each]  # the next entry has it again

    def folded(self, number: int) -> None:
        """Forget the entries up to a number."""
        self.refused = {each for each in self.refused if each > number}
        self.unknown = {each for each in self.unknown if each > number}
        self.replaced = {each: digest for each, digest in self.replaced.items() if each > number}
        self.unconfirmed = {each: digest for each, digest in self.unconfirmed.items() if each > number}
