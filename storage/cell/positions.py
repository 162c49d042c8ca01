"""Positions: numbers that only rise. Anchors outside of the database have them, and show whether an older state was put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from strongroom.storage.errors import OlderThanAnchor

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

DIGEST_BYTES = 32
UNKNOWN = b""
"""The digest of a state that was not opened. It is compared with nothing."""
REGISTRY, POLICY = "registry", "policy"
"""The names of the positions of the key registry and of the access policy."""


@dataclass(frozen=True, slots=True)
class Position:
    """A state of a part of the cell.

    Attributes:
        name: The name of the part, for example `registry`.
        number: A number that rises with each change; 0 if the part does not exist.
        digest: The digest of the state, 32 bytes; `UNKNOWN` if it is not known.
    """

    name: str
    number: int
    digest: bytes

    def __str__(self) -> str:
        if not self.number:
            return "none"
        return f"version {self.number}" + (f" ({self.digest.hex()[:12]})" if self.digest else "")


class PositionSource(Protocol):
    """A part of the cell that has positions."""

    async def positions(self) -> Sequence[Position]:
        """Return the present positions after verifying them, so that they can be anchored.

        Raises:
            StrongroomError: They can't be read, or were altered.
        """

    async def stored(self, names: Collection[str], /) -> Sequence[Position]:
        """Return the positions as the database states them. Nothing is verified, so that no key is needed.

        Args:
            names: The names that the caller compares. Positions of other names may be left out.

        Raises:
            StorageError: The database can't be read.
        """


@runtime_checkable
class ContinuedSource(PositionSource, Protocol):
    """A part of the cell whose present state can be accepted by its position alone. For a shard, its rows are named too."""

    async def continue_after(self, anchored: Position) -> None:
        """Give the present state a number above an anchored one, because a person accepted that it is older.

        Raises:
            StrongroomError: The present state is not valid, or can't be changed.
        """


class AnchoredPositions(Protocol):
    """The newest positions that anchors have."""

    def newest(self, name: str) -> Position | None:
        """Return the newest anchored position of a part; None if there is none."""


def is_older(found: Position, anchored: Position) -> bool:
    """Return whether a state is older than an anchored one, or is another state of the same number."""
    is_other = UNKNOWN not in (found.digest, anchored.digest) and found.digest != anchored.digest
    return found.number < anchored.number or (found.number == anchored.number and is_other)


def check_position(found: Position, anchored: Position | None) -> None:
    """Refuse a state that is older than the newest anchored one.

    Args:
        found: The present state.
        anchored: The newest anchored state; None if there is none.

    Raises:
        OlderThanAnchor: It is older, or another state of the same number.
    """
    if anchored is not None and is_older(found, anchored):
        raise OlderThanAnchor([difference(found, anchored)])


def difference(found: Position, anchored: Position) -> str:
    """Return a sentence that names both states."""
    part = {REGISTRY: "the key registry", POLICY: "the access policy"}.get(anchored.name, anchored.name)
    return f"{part} in the database is {found}, and {anchored} is anchored"


def newest_by_name(*lists: Sequence[Position]) -> dict[str, Position]:
    """Return the position with the highest number of each name. Of two with the same number the first one is returned."""
    newest: dict[str, Position] = {}
    for positions in lists:
        for each in positions:
            if each.name not in newest or each.number > newest[each.name].number:
                newest[each.name] = each
    return newest
