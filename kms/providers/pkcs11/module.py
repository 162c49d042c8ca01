"""A PKCS#11 module in this process: the one thread on which it is called, and the tokens that it has."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, TypeVar

import pkcs11

from strongroom.kms.errors import InvalidRequest, KmsTimeout, KmsUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pkcs11._pkcs11 import lib as Library  # noqa: N812 - the class of what `pkcs11.lib` returns

T = TypeVar("T")


class Module:
    """A vendor's library.

    The binding initialises a module without locking, and then PKCS#11 allows no two threads in it at once, so it has one.
    The thread is a daemon: a module that hangs does not keep the process from ending.

    Attributes:
        path: of the library.
        sessions: the one on each token, by its label; of the module's thread only.
        users: who uses it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sessions: dict[str, pkcs11.Session] = {}
        self.users: dict[str, set[object]] = {}
        self._process = os.getpid()
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        Thread(target=self._work, name="strongroom-pkcs11", daemon=True).start()

    async def run(self, job: Callable[[], T], *, seconds: float, what: str) -> T:
        """Return what a job returns or raises on the module's thread; give up waiting after some seconds.

        Raises:
            KmsTimeout: it has not come to its end, or not to its turn.
            KmsUnavailable: the process was forked, and the thread with its sessions is the parent's.
        """
        if os.getpid() != self._process:
            msg = (
                f"{what}: PKCS#11 was opened before this process was forked; spawn workers, or fork before it is opened"
            )
            raise KmsUnavailable(msg)
        future: Future[T] = Future()
        self._jobs.put((future, job))
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            msg = f"{what}: no answer from the token in {seconds:g} s"
        raise KmsTimeout(msg)

    def find(self, label: str, what: str) -> pkcs11.Token:
        """Return the token with a label. On the module's thread only.

        Modules do not always see again what was away, so one that lacks the token is initialised anew first.

        Raises:
            KmsUnavailable: the module can't be loaded, or has no such token now.
            InvalidRequest: it has several of this label.
        """
        found: list[pkcs11.Token] = []
        try:
            library = pkcs11.lib(str(self.path))
            found = _labelled(library, label)
            if not found:
                self.sessions.clear()  # they end with it
                with suppress(pkcs11.PKCS11Error):
                    library.finalize()
                library.initialize()
                found = _labelled(library, label)
        except pkcs11.PKCS11Error as error:
            msg = f"{what}: the PKCS#11 module {self.path} can't be used: {str(error) or type(error).__name__}"
        else:
            msg = f"{what}: {self.path} has no token with the label {label!r} now"
        if len(found) > 1:
            msg = f"{what}: {len(found)} tokens have the label {label!r}; give one of them another label"
            raise InvalidRequest(msg)
        if not found:
            raise KmsUnavailable(msg)
        return found[0]

    def _work(self) -> None:
        while True:
            self._do(*self._jobs.get())  # a call of its own, which leaves no root behind in a local variable

    def _do(self, future: Future[Any], job: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():  # else nobody waits any more
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001 - who waits for it gets it
                future.set_exception(error)


_modules: dict[str, Module] = {}
_opening = Lock()


def module_at(path: Path) -> Module:
    """Return the process's one `Module` for a path."""
    with _opening:
        if str(path) not in _modules:
            _modules[str(path)] = Module(path)
        return _modules[str(path)]


def _labelled(library: Library, label: str) -> list[pkcs11.Token]:
    found = []
    for slot in library.get_slots(token_present=True):
        with suppress(pkcs11.PKCS11Error):  # another token that is broken or gone is no concern of ours
            token = slot.get_token()
            if token.label == label:
                found.append(token)
    return found
