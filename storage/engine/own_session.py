"""A connection whose statements run in its own session only, even if a pooler begins to share sessions while it is open.

Row-level security depends on a setting of the session. Each statement begins with the session's mark, and the policies compare it with
the mark in the setting (`sql/schema/policies.sql`). So a statement that reaches another session raises an error instead of finding
nothing, and no round trip is needed to check it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import asyncpg

from strongroom.storage.errors import PoolingNotSupported

from .row_level_security import SET_NAMESPACES, SETTING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
        address: The address of the server, as people write it.
        session: The session, once it has begun.
        ends: The ends of the current transaction of `Database`; None outside of one.
        command_tag: The tag of the last command of `execute`.
        for_nodes: The setting of row-level security that the nodes of a Citus cluster get in each transaction; empty for none.
    """

    __slots__ = ("_mark", "_own", "_shown", "address", "command_tag", "ends", "for_nodes", "session")

    session: Session

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._own = token_hex(8)
        self._mark = self._shown = ""  # no namespace, until a borrower sets one
        self.address = self.for_nodes = ""
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
        # With arguments asyncpg prepares the statement, and `_execute` runs it.
        if self.for_nodes and not args:
            async with self._on_nodes():
                self.command_tag = await super().execute(self._mark + query, timeout=timeout)
        else:
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
        if not self.session.row_level_security:
            return
        if setting != self._shown:
            try:
                done = await super().fetch(SET_NAMESPACES, self._mark, setting)
            except BaseException:
                self.terminate()
                raise
            if not done:
                raise PoolingNotSupported
            self._shown = setting
        if self.session.distributed:
            self.for_nodes = self._mark + setting

    async def show_on_nodes(self) -> None:
        """Set the namespaces on the nodes of a Citus cluster too, until the end of the current transaction."""
        await super().execute(f"{self._mark}SET LOCAL {SETTING} = '{self.for_nodes}'")

    @asynccontextmanager
    async def _on_nodes(self) -> AsyncIterator[None]:
        """Run the block in a transaction whose nodes know the namespaces, because a setting of the session does not reach them."""
        begun = self._top_xact  # type: ignore[attr-defined]  # asyncpg's own transaction, also before its BEGIN
        if begun is not None or self.is_in_transaction():
            yield
            return
        await super().execute(f"BEGIN; SET LOCAL {SETTING} = '{self.for_nodes}'")
        try:
            yield
        except asyncpg.PostgresError:
            await super().execute("ROLLBACK")
            raise
        await super().execute("COMMIT")

    async def _execute(self, *args: Any, **kwargs: Any) -> Any:
        if self.for_nodes:
            async with self._on_nodes():
                result = await super()._execute(*args, **kwargs)  # type: ignore[misc]
        else:
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
