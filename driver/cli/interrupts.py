"""SIGINT and SIGTERM end a command at any moment with one line and the exit code 130 or 143. A second signal ends it at once.

Nothing of the product is imported here, because the handlers must be installed before imports that take a second.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .stopped import stop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Coroutine, Iterator
    from types import FrameType

T = TypeVar("T")

_PULSE = 0.2
"""Seconds after which a signal is noticed that arrived in the instant before the terminal was waited for."""


class Interrupts:
    """The handler of both signals.

    A command is cancelled by the first signal, so that connections and servers are closed in order. Elsewhere there is nothing to
    close, and the process ends at once, without running code of libraries that could print a traceback.

    Attributes:
        received: The first signal; None before it.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._cancel: Any = None
        self._asking = False

    def install(self) -> None:
        """Handle both signals, except one that the parent process ignores, as `nohup` does."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self)

    @staticmethod
    def ignore_late_signals() -> None:
        """Ignore both signals for the rest of the process.

        Python restores the default handlers when the interpreter ends, and a signal would then replace the exit code of a command that
        has done its work. It does not restore those of ignored signals.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def __call__(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        again, self.received = self.received is not None, self.received or number
        if again:
            self.end(flush=False)
        if self._asking:
            raise KeyboardInterrupt  # Only an exception makes `input` restore the terminal.
        if self._cancel is not None:
            self._cancel()
        else:
            self.end()

    def end(self, *, flush: bool = True) -> NoReturn:
        """Print one line, and end the process."""
        if flush:
            with suppress(Exception):
                sys.stdout.flush()
        stop(self.received or signal.SIGINT)
        raise AssertionError  # `stop` does not return

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Raise `KeyboardInterrupt` for a signal, while a person is asked.

        Python runs handlers between its own steps only. A signal between the last step and the system call that waits for the
        terminal would be noticed with the next key, so a timer ends this call again and again.
        """
        before = signal.signal(signal.SIGALRM, _ignore)
        signal.setitimer(signal.ITIMER_REAL, _PULSE, _PULSE)
        self._asking = True
        try:
            yield
        finally:
            self._asking = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def run(self, command: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine as `asyncio.run` does. A signal cancels it."""
        import asyncio  # noqa: PLC0415 - takes a while to import

        async def cancellable() -> T:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None  # noqa: S101 - a coroutine runs in a task
            self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
            try:
                with _woken_by_signals(loop):
                    return await command
            finally:
                self._cancel = None
                if self.received is not None:
                    self.end()  # Without the end of `asyncio.run`, which waits for threads.

        return asyncio.run(cancellable())


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by doing nothing. In contrast to `SIG_IGN`, the signal ends a system call."""


@contextmanager
def _woken_by_signals(loop: AbstractEventLoop) -> Iterator[None]:
    """Let a signal wake the loop, so that one in the instant before the loop waits is handled at once, and not with the next event."""
    receiver, sender = os.pipe()
    os.set_blocking(receiver, False)
    os.set_blocking(sender, False)
    loop.add_reader(receiver, os.read, receiver, 4096)
    before = signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        loop.remove_reader(receiver)
        os.close(sender)
        os.close(receiver)


INTERRUPTS = Interrupts()
"""The handler of this process."""
