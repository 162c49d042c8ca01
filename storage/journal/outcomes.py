"""The outcomes of the entries that a process made for a shard: which were committed, and what they replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

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


Named: TypeAlias = "dict[int, bytes | Settled]"
"""Outcomes by the number of the entry: the digest of what a committed entry replaced, REFUSED or UNKNOWN."""


@dataclass(slots=True)
class Outcomes:
    """The outcomes of the entries of one shard.

    One later entry names each outcome, and another one if that entry was not committed. So an entry stays short, however long nothing
    is folded.

    Attributes:
        last: The last number.
        in_flight: The entries that are not settled, in ascending order.
        refused: Those that were not committed, until they are folded.
        unknown: Those that may have been committed, until they are folded.
        replaced: The digests of committed entries that replaced rows, until they are folded.
        unnamed: Outcomes that no other entry names yet.
        naming: For each entry in flight, the lowest number whose outcome it names, and the outcomes that it names.
        stated: The number of the last entry that was made only to name outcomes; 0 for none.
    """

    last: int = 0
    in_flight: dict[int, None] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    replaced: dict[int, bytes] = field(default_factory=dict)
    unnamed: Named = field(default_factory=dict)
    naming: dict[int, tuple[int, Named]] = field(default_factory=dict)
    stated: int = 0

    def begin(self) -> int:
        """Return the number of a new entry. It names the outcomes that no other entry names."""
        self.last += 1
        self.in_flight[self.last] = None
        if self.unnamed:
            self.naming[self.last] = min(self.unnamed), self.unnamed
            self.unnamed = {}
        return self.last

    def known(self) -> tuple[int, Sequence[int], Sequence[int], Mapping[int, bytes]]:
        """Return the first three fields of an `Entry` that names the outcomes of all entries, and its digests."""
        settled = next(iter(self.in_flight), self.last + 1)
        return settled, sorted(self.refused), sorted(self.unknown), dict(self.replaced)

    def noted(self) -> tuple[int, Sequence[int], Sequence[int], Mapping[int, bytes]]:
        """Return the first three fields of the `Entry` that was begun last, and its digests."""
        settled = next(iter(self.in_flight))
        own: Named | None = None
        for number, (first, named) in self.naming.items():
            if number == self.last:
                own = named
            elif first < settled:
                settled = first  # the entry that names it may never be committed
        if own is None:
            return settled, (), (), NO_DIGESTS
        refused = [number for number, outcome in own.items() if outcome is Settled.REFUSED]
        unknown = [number for number, outcome in own.items() if outcome is Settled.UNKNOWN]
        return settled, refused, unknown, {each: digest for each, digest in own.items() if isinstance(digest, bytes)}

    def settle(self, number: int, settled: Settled, digest: bytes) -> None:
        """Note the outcome of an entry, and the digest of what it replaced."""
        self.in_flight.pop(number, None)
        _, named = self.naming.pop(number, (0, _NOTHING))
        if settled is Settled.COMMITTED:
            if digest != NOTHING_REPLACED:
                self.replaced[number] = self.unnamed[number] = digest
            return
        (self.refused if settled is Settled.REFUSED else self.unknown).add(number)
        self.unnamed[number] = settled
        for each, outcome in named.items():  # the next entry names them again
            if each in self.replaced or each in self.refused or each in self.unknown:
                self.unnamed[each] = outcome

    def folded(self, number: int) -> None:
        """Forget the entries up to a number."""
        self.refused = {each for each in self.refused if each > number}
        self.unknown = {each for each in self.unknown if each > number}
        self.replaced = {each: digest for each, digest in self.replaced.items() if each > number}
        self.unnamed = {each: outcome for each, outcome in self.unnamed.items() if each > number}


_NOTHING: Named = {}
