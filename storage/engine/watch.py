"""Telemetry of connections and shared statements. An observer must neither raise nor block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class StatementReport:
    """A statement that several calls shared.

    Attributes:
        operation: The name of the database's function that the statement calls, without its digest.
        waits: For each call the seconds from the call to the sending of the statement.
        origins: For each call the value that `DatabaseWatch.origin` returned when the call was made.
        seconds: The seconds from taking a connection until the commit or failure.
        error: The error of the statement as a whole; None if each call has an answer.
    """

    operation: str
    waits: Sequence[float]
    origins: Sequence[object]
    seconds: float
    error: Exception | None


class DatabaseWatch(Protocol):
    """An observer of the connections of one `Database`."""

    def origin(self) -> object:
        """Return the origin of a call, for example the current span."""

    def statement(self, report: StatementReport) -> None:
        """Record that a shared statement has ended."""

    def used(self, seconds: float) -> None:
        """Record that a connection was lent for `seconds`, outside shared statements."""
