"""The positions of the audit log itself, for an anchor outside of the folder and of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.cell.positions import Position

from .checkpoint import Checkpoint
from .mentions import uuid_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from .log import AuditLog

AUDIT = "audit/"
"""The beginning of the name of a stream's position; the id of the stream follows."""


def checkpoints_of(positions: Sequence[Position]) -> list[Checkpoint]:
    """Return the positions of streams among some positions."""
    named = [(uuid_of(each.name.removeprefix(AUDIT)), each) for each in positions if each.name.startswith(AUDIT)]
    return [Checkpoint(stream_id, each.number, each.digest) for stream_id, each in named if stream_id is not None]


def position_of(covered: Checkpoint) -> Position:
    """Return the position of a stream."""
    return Position(f"{AUDIT}{covered.stream_id}", covered.sequence, covered.chain)


class LogPosition:
    """The source of the position of this process's stream; see `PositionSource`.

    Args:
        log: The audit log.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    async def positions(self) -> Sequence[Position]:
        """Return the last signed record of this process's stream."""
        covered = self._log.covered
        return [] if covered is None else [position_of(covered)]

    async def stored(self, _names: Collection[str], /) -> Sequence[Position]:
        """Return nothing: `audit verify` compares the streams, and a process compares its own with the database."""
        return []

    async def continue_after(self, anchored: Position) -> None:
        """Do nothing, because a stream that was cut is ended and never continued."""
