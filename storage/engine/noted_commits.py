"""Note the commits of calls with several transactions, so that their errors say whether anything was committed."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from strongroom.kms import Commits, current_commits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .connection import Connection, Row

# The functions in sql/*/functions that write begin with these verbs. FOR UPDATE only locks.
_WRITES = re.compile(
    r"\b(?:INSERT\s+INTO|DELETE\s+FROM|TRUNCATE|ALTER|DROP|CREATE|GRANT)\b"
    r"|(?<!\bFOR )(?<!\bKEY )\bUPDATE\b"
    r"|\bFROM\s+(?:\w+\.)?(?:write|add|append|delete|fork|create)_\w+\s*\("
)
_COMMENT = re.compile(r"--[^\n]*")


class NotingConnection:
    """A connection that notes a statement that writes.

    Args:
        lent: The connection that the statements are sent on.
        commits: The commits of the call. Without a transaction, each statement is committed when its answer is there.
    """

    def __init__(self, lent: Connection, commits: Commits) -> None:
        self.lent = lent
        self._commits = commits

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a statement; see `Connection`."""
        tag = await self.lent.execute(query, *args, timeout=timeout)
        self._note(query)
        return tag

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109
        """Run a query; see `Connection`."""
        rows = await self.lent.fetch(query, *args, timeout=timeout)
        self._note(query)
        return rows

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """Run a query; see `Connection`."""
        row = await self.lent.fetchrow(query, *args)
        self._note(query)
        return row

    def _note(self, query: str) -> None:
        self._commits.happened = self._commits.happened or writes(query)


def noted(lent: Connection) -> Connection:
    """Return a connection without a transaction that notes the commits of the current call, if that commits several times."""
    commits = current_commits()
    return lent if commits is None else NotingConnection(lent, commits)


@contextmanager
def noted_at_commit() -> Iterator[Callable[[Connection], Connection]]:
    """Note at the end of a transaction whether it wrote. The block gets a function that returns a connection to send statements on."""
    commits, written = current_commits(), Commits()
    yield lambda lent: lent if commits is None else NotingConnection(lent, written)
    if commits is not None and written.happened:
        commits.happened = True


@lru_cache(maxsize=512)
def writes(query: str) -> bool:
    """Return whether a statement writes rows."""
    return _WRITES.search(_COMMENT.sub("", query)) is not None
