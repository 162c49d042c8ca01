"""A connection whose statements run in its own session only, even if a pooler begins to share sessions while it is open.

Row-level security depends on a setting of the session. Each statement begins with the session's mark, and the policies compare it with
the mark in the setting (`sql/schema/policies.sql`). So a statement that reaches another session raises an error instead of finding
nothing, and no round trip is needed to check it.
"""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING, Any

import asyncpg

from strongroom.storage.errors import PoolingNotSupported

from .row_level_security import SET_NAMESPACES

if TYPE_CHECKING:
    from .session_settings import Session
    from .transaction_ends import TransactionEnds

    _Connection = asyncpg.Connection[Any]
else:
    _Connection = asyncpg.Connection


_NOT_COMMITTED = (
    "the statement may be rolled back: a pooler in front of the database opened a transaction and did not end it. Pgpool-II does "
    "this with backend_clustering_mode = 'raw'. Use another mode, or connect to PostgreSQL directly; see docs/how-to/pgbouncer.md"
)


class OwnSession(_Connection):
    """A connection with prepared statements and a mark of its own.

    asyncpg counts the statements of a process. If a pooler begins to share sessions, a statement of one process would run the
    statement that another one has prepared under the same name. So each name has a random part.

    Attributes:
        session: The session, once it has begun.
        ends: The ends of the current transaction of `Database`; None outside of one.
        command_tag: The tag of the last command of `execute`.
    """

    __slots__ = ("_mark", "_own", "_shown", "command_tag", "ends", "session")

    session: Session

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._own = token_hex(8)
        self._mark = self._shown = ""  # no namespace, until a borrower sets one
        self.ends: TransactionEnds | None = None
        self.command_tag = ""
        super().__init__(*args, **kwargs)

    def began(self, session: Session) -> None:
        """Begin each further statement with the session's mark."""
        self.session = session
        self._mark = session.mark

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - asyncpg's
        """Run a statement; see `asyncpg.Connection`."""
        if self.ends is not None:
            self.ends.sent(query)
        # With arguments asyncpg prepares the statement.
        self.command_tag = await super().execute(query if args else self._mark + query, *args, timeout=timeout)
        self._check_end()
        return self.command_tag

    async def show(self, setting: str) -> None:
        """Set the namespaces that the session sees, unless it sees them already or row-level security does not apply to it.

        If the outcome is unknown, the connection is closed.

        Args:
            setting: A value of `setting_of`.

        Raises:
            PoolingNotSupported: The statement reached another session, and changed nothing.
        """
        if setting == self._shown or not self.session.row_level_security:
            return
        try:
            done = await super().fetch(SET_NAMESPACES, self._mark, setting)
        except BaseException:
            self.terminate()
            raise
        if not done:
            raise PoolingNotSupported
        self._shown = setting

    async def _execute(self, *args: Any, **kwargs: Any) -> Any:
        result = await super()._execute(*args, **kwargs)  # type: ignore[misc]
        self._check_end()
        return result

    def _check_end(self) -> None:
        """Refuse the result of a statement outside of a transaction that is not committed.

        Pgpool-II in raw mode begins a transaction before such a statement, and ends it with ABORT when the client leaves.

        Raises:
            PoolingNotSupported: A transaction is open that this connection did not begin.
        """
        begun = self._top_xact  # type: ignore[attr-defined]  # asyncpg's own transaction, if there is one
        if begun is None and self.is_in_transaction():
            raise PoolingNotSupported(_NOT_COMMITTED, may_have_been_committed=True)

    async def _get_statement(self, query: str, *args: Any, **kwargs: Any) -> Any:
        if self.ends is not None:
            self.ends.sent(query)
        return await super()._get_statement(self._mark + query, *args, **kwargs)  # type: ignore[misc]

    def _get_unique_id(self, prefix: str) -> str:
        name: str = super()._get_unique_id(prefix)  # type: ignore[misc]
        return f"{name}{self._own}"
