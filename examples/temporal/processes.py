"""Processes of the stack: each has a log file, is waited for by a condition, and is ended by its id."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

PATIENCE = 180.0
"""Time that a process may take to become ready, in seconds. It is reached only if something is wrong."""
_CONNECT_SECONDS = 10.0


class StackError(Exception):
    """A part of the stack did not start or ended too early."""


@dataclass(slots=True)
class Process:
    """A running process.

    Attributes:
        name: Its name, which is also the name of its log.
        command: The program and its arguments.
        log: The file with its output.
        popen: The process.
    """

    name: str
    command: Sequence[str]
    log: Path
    popen: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self.popen.pid

    def wait_until(self, ready: Callable[[], bool], what: str) -> None:
        """Wait for a condition.

        Args:
            ready: The condition.
            what: What is waited for, for the message.

        Raises:
            StackError: The process ended, or the condition did not become true.
        """
        end = time.monotonic() + PATIENCE
        while not ready():
            if self.popen.poll() is not None:
                raise StackError(f"{self.name} ended with exit code {self.popen.returncode}:\n{self.tail()}")
            if time.monotonic() > end:
                raise StackError(f"{self.name}: {what} did not happen in {PATIENCE:.0f} s:\n{self.tail()}")
            time.sleep(0.05)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of the log."""
        last = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(line[:400] for line in last)  # Temporal's lines end in stack traces of thousands of characters

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code. A process that does not end is killed."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
            try:
                self.popen.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        return self.popen.wait()


def start(
    name: str, command: Sequence[str | Path], folder: Path, *, environment: Mapping[str, str] | None = None
) -> Process:
    """Start a process.

    Args:
        name: Its name.
        command: The program and its arguments.
        folder: The folder of its log; also its working folder.
        environment: Variables besides those of this process.
    """
    words = [str(word) for word in command]
    log = folder / f"{name}.log"
    with log.open("ab") as output:
        popen = subprocess.Popen(
            words, stdout=output, stderr=output, cwd=folder, env={**os.environ, **(environment or {})}
        )
    return Process(name, words, log, popen)


def stopped_at_the_end(stack: ExitStack, process: Process) -> Process:
    """Stop a process when the exit stack closes."""
    stack.callback(process.stop)
    return process


def run(command: Sequence[str | Path], folder: Path, *, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return its output.

    Raises:
        StackError: It failed.
    """
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(f"{command[0]} failed with exit code {done.returncode}:\n{done.stdout[-2000:]}")
    return done.stdout


def free_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback address for servers that start within a minute. Until then no other caller gets them.

    They are below 32,768, because Temporal's schema for PostgreSQL keeps the ports of its hosts in 16 bits with a sign. The system
    gives higher ports to clients, so it does not take these in between.
    """
    found: list[int] = []
    for port in random.sample(range(20_000, 32_768), 10 * count):
        if _reserved(port):
            found.append(port)
        if len(found) == count:
            return found
    msg = "no free TCP ports between 20,000 and 32,768"
    raise StackError(msg)


def _reserved(port: int) -> bool:
    """Reserve a port for a minute; return whether it was free.

    The side that closes a connection first keeps its port for a minute. Servers can listen on it, because they use SO_REUSEADDR as
    this socket does. It is set after the port is bound, so that a port that another program has reserved is refused.
    """
    try:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", port))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.listen()
            with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_SECONDS) as client:
                listening.accept()[0].close()
                client.recv(1)
    except OSError:
        return False
    return True


def accepts(port: int) -> bool:
    """Return whether a program listens on a port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def accepts_on(path: Path) -> bool:
    """Return whether a program listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
