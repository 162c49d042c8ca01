"""Call functions at the end of a transaction, which alone decides whether its statements were committed."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from .connection import unwrapped

if TYPE_CHECKING:
    from .connection import Connection

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_ENDING = re.compile(r"\b(?:ROLLBACK|ABORT|COMMIT|PREPARE)\b|(?:^|;)\s*END\b", re.IGNORECASE)
_TO_SAVEPOINT = re.compile(
    r"\s*ROLLBACK\s+(?:WORK\s+|TRANSACTION\s+)?TO\s+(?:SAVEPOINT\s+)?[^\s;]+[\s;]*", re.IGNORECASE
)


class Outcome(Enum):
    """How a transaction ended."""

    COMMITTED = auto()
    ROLLED_BACK = auto()
    UNKNOWN = auto()
    """The transaction may have been committed, or the caller has undone a part of it."""


End: TypeAlias = Callable[[Outcome], None]
"""Called with the outcome of a transaction, or of the part of it before the call was registered."""


class TransactionEnds:
    """The functions that one transaction calls at its end.

    A statement of the caller can undo a part of the transaction, for example ROLLBACK TO SAVEPOINT, or can end it. What was
    registered before it has an unknown outcome. So has everything else after a statement that may end the transaction.
    """

    __slots__ = ("_calls", "_is_open", "_uncertain")

    def __init__(self) -> None:
        self._calls: list[End] = []
        self._uncertain = 0
        self._is_open = True

    def add(self, call: End) -> None:
        """Call a function at the end."""
        self._calls.append(call)

    def sent(self, query: str) -> None:
        """Note a statement of the transaction that is about to be sent."""
        if _may_end(query):
            self._uncertain = len(self._calls)
            self._is_open = self._is_open and _TO_SAVEPOINT.fullmatch(_COMMENT.sub("", query)) is not None

    def end(self, outcome: Outcome) -> None:
        """Call the functions in the order in which they were added."""
        for number, call in enumerate(self._calls):
            is_certain = self._is_open and (number >= self._uncertain or outcome is Outcome.ROLLED_BACK)
            call(outcome if is_certain else Outcome.UNKNOWN)


@lru_cache(maxsize=512)
def _may_end(query: str) -> bool:
    """Return whether a statement may end a transaction, or undo a part of it.

    A word in a string or in a comment counts too: the outcome of its transaction is then unknown, which is always safe. The text
    without comments is looked at as well, because only there can `END` be the first word.
    """
    return any(_ENDING.search(text) for text in (query, _COMMENT.sub("", query)))


def at_end(connection: Connection, call: End) -> bool:
    """Call a function at the end of a connection's transaction.

    Args:
        connection: A connection that `Database` lent, or one of the caller.
        call: The function.

    Returns:
        Whether the connection is in a transaction of `Database`. The function is not called otherwise.
    """
    ends: TransactionEnds | None = getattr(unwrapped(connection), "ends", None)
    if ends is not None:
        ends.add(call)
    return ends is not None
