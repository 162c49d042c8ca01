"""A PKCS#11 module in this process, with the one thread that calls it, and its tokens."""

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
from strongroom.kms.loop_deadline import TICKS
from strongroom.kms.private_files import UnsafePath, check_trusted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pkcs11._pkcs11 import lib as Library  # noqa: N812 - the class of what `pkcs11.lib` returns

T = TypeVar("T")


class Module:
    """A vendor's library.

    The binding initialises a module without locking, so PKCS#11 allows only one thread in it. That thread is a daemon, so that
    a module that hangs does not keep the process from ending.

    Attributes:
        path: The library.
        sessions: The session of each token by its label. Only the module's thread may use it.
        users: The users of each session by the token's label.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sessions: dict[str, pkcs11.Session] = {}
        self.users: dict[str, set[object]] = {}
        self._process = os.getpid()
        self._turns = 0  # how often the thread began or ended a job
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        Thread(target=self._work, name="strongroom-pkcs11", daemon=True).start()

    async def run(self, job: Callable[[], T], *, seconds: float, what: str) -> T:
        """Run a job on the module's thread, and return its result.

        Args:
            job: The job.
            seconds: The time for one job, from its beginning. A queue of other jobs that make progress is not a hang.
            what: The start of an error message.

        Raises:
            KmsTimeout: A job did not finish within `seconds`.
            KmsUnavailable: The process was forked, and the thread and its sessions belong to the parent.
        """
        if os.getpid() != self._process:
            msg = (
                f"{what}: PKCS#11 was opened before this process was forked; spawn workers, or fork before it is opened"
            )
            raise KmsUnavailable(msg)
        future: Future[T] = Future()
        self._jobs.put((future, job))
        answer = asyncio.wrap_future(future)
        turns, ticks = self._turns, 0
        try:
            # Counted in ticks, so that a busy event loop is not taken for a token that hangs; see `loop_deadline`.
            while not answer.done() and ticks < TICKS:
                await asyncio.wait({answer}, timeout=seconds / TICKS)
                ticks = ticks + 1 if turns == self._turns else 0
                turns = self._turns
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        msg = f"{what}: no answer from the token in {seconds:g} s"
        raise KmsTimeout(msg)

    def find(self, label: str, what: str) -> pkcs11.Token:
        """Return the token with a label. Call this on the module's thread only.

        If the token is missing, the module is initialised again, because modules may not notice a token that came back.

        Raises:
            KmsUnavailable: The module can't be loaded, or has no such token now.
            InvalidRequest: Several tokens have this label, or others can change the module.
        """
        tokens: list[pkcs11.Token] = []
        try:
            check_trusted(self.path)  # a library runs in this process
        except UnsafePath as error:
            raise InvalidRequest(f"{what}: the PKCS#11 module can't be used: {error.strerror}") from None
        except OSError as error:
            raise KmsUnavailable(f"{what}: the PKCS#11 module {self.path} can't be used: {error.strerror}") from None
        try:
            library = pkcs11.lib(str(self.path))
            tokens = _labelled(library, label)
            if not tokens:
                self.sessions.clear()  # `finalize` ends them
                with suppress(pkcs11.PKCS11Error):
                    library.finalize()
                library.initialize()
                tokens = _labelled(library, label)
        except pkcs11.PKCS11Error as error:
            msg = f"{what}: the PKCS#11 module {self.path} can't be used: {str(error) or type(error).__name__}"
        else:
            msg = f"{what}: {self.path} has no token with the label {label!r} now"
        if len(tokens) > 1:
            msg = f"{what}: {len(tokens)} tokens have the label {label!r}; give one of them another label"
            raise InvalidRequest(msg)
        if not tokens:
            raise KmsUnavailable(msg)
        return tokens[0]

    def _work(self) -> None:
        while True:
            self._do(*self._jobs.get())  # a function of its own, so that no local variable keeps a root

    def _do(self, future: Future[Any], job: Callable[[], Any]) -> None:
        if future.set_running_or_notify_cancel():  # otherwise nobody waits for it any more
            self._turns += 1
            try:
                result = job()
            except BaseException as error:  # noqa: BLE001 - the waiting caller gets it
                self._turns += 1
                future.set_exception(error)
            else:
                self._turns += 1
                future.set_result(result)


_modules: dict[str, Module] = {}
_opening = Lock()


def module_at(path: Path) -> Module:
    """Return the process's only `Module` for a path."""
    with _opening:
        if str(path) not in _modules:
            _modules[str(path)] = Module(path)
        return _modules[str(path)]


def _labelled(library: Library, label: str) -> list[pkcs11.Token]:
    tokens = []
    for slot in library.get_slots(token_present=True):
        with suppress(pkcs11.PKCS11Error):  # another token is broken or was removed
            token = slot.get_token()
            if token.label == label:
                tokens.append(token)
    return tokens
