"""Look-ups that share a statement, as writes share one in a group commit.

After a restart, many namespaces are needed at once. One statement for each would take a round trip for each, and the callers at the
end of the queue would exceed the time that they may wait for a connection.
"""

from __future__ import annotations

import asyncio
from copy import copy
from itertools import islice
from typing import TYPE_CHECKING, Generic, TypeVar

from .errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

K = TypeVar("K")
V = TypeVar("V")

AT_ONCE = 500
"""Number of look-ups in a statement."""


class SharedLookups(Generic[K, V]):
    """Send one statement at a time. Look-ups that arrive meanwhile wait, and are sent together in the next one.

    A result was always read after its caller asked for it, because nobody joins a statement that was already sent.

    Args:
        read: Reads the values of several keys with one statement. A key may be missing in the result.
    """

    def __init__(self, read: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._read = read
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._sender: asyncio.Task[None] | None = None

    async def get(self, key: K) -> V | None:
        """Return the value of a key, or None.

        Raises:
            StorageError: The database does not answer. Any other error of `read` is raised too.
        """
        if key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().create_future()
        answer = self._waiting[key]
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        # Shielded, so that a cancelled caller does not cancel the look-up of the others.
        return await asyncio.shield(answer)

    async def _send(self) -> None:
        try:
            while self._waiting:
                keys = list(islice(self._waiting, AT_ONCE))
                await self._answer({key: self._waiting.pop(key) for key in keys})
        finally:
            self._sender = None
            for answer in self._waiting.values():  # only if this task is cancelled
                answer.cancel()
            self._waiting.clear()

    async def _answer(self, asked: Mapping[K, asyncio.Future[V | None]]) -> None:
        try:
            found = await self._read(list(asked))
        except Exception as error:  # noqa: BLE001 - it goes to the callers
            if len(asked) > 1 and not isinstance(error, StorageError):
                for key, answer in asked.items():  # one value that can't be read must not stop the others
                    await self._answer({key: answer})
                return
            for answer in asked.values():
                answer.set_exception(copy(error))  # a copy for each caller, because each raise adds to the traceback
                answer.exception()  # all callers may have left
        else:
            for key, answer in asked.items():
                answer.set_result(found.get(key))
        finally:
            for answer in asked.values():
                answer.cancel()  # without effect on an answer that is set; it is not if this task is cancelled
