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

    def begin(self) -> tuple[int, int, Sequence[int], Sequence[int], Mapping[int, bytes]]:
        """Begin an entry, which names the outcomes that no other entry names.

        Returns:
            The number of the entry, the first three fields of its `Entry`, and its digests.
        """
        number = self.last = self.last + 1
        self.in_flight[number] = None
        settled = next(iter(self.in_flight))
        for first, _ in self.naming.values():
            settled = min(settled, first)  # the entry that names it may never be committed
        own = self.unnamed
        if not own:
            return number, settled, (), (), NO_DIGESTS
        self.naming[number] = min(own), own
        self.unnamed = {}
        refused = [each for each, outcome in own.items() if outcome is Settled.REFUSED]
        unknown = [each for each, outcome in own.items() if outcome is Settled.UNKNOWN]
        digests = {each: digest for each, digest in own.items() if isinstance(digest, bytes)}
        return number, settled, refused, unknown, digests

    def known(self) -> tuple[int, Sequence[int], Sequence[int], Mapping[int, bytes]]:
        """Return the first three fields of an `Entry` that names the outcomes of all entries, and its digests."""
        settled = next(iter(self.in_flight), self.last + 1)
        return settled, sorted(self.refused), sorted(self.unknown), dict(self.replaced)

    def settle(self, number: int, settled: Settled, digest: bytes) -> None:
        """Note the outcome of an entry, and the digest of what it replaced."""
        self.in_flight.pop(number, None)
        _, named = self.naming.pop(number, _NAMES_NOTHING)
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


_NAMES_NOTHING: tuple[int, Named] = (0, {})
