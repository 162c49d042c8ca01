"""A cell, and servers of it in their own processes, as an operator starts them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from time import monotonic, sleep
from typing import TYPE_CHECKING

from strongroom.driver.config import load_config, write_config
from strongroom.driver.strongroom import Strongroom
from tests.support.citus import distribute
from tests.support.fixtures.command_line import STRONGROOM
from tests.support.fixtures.driver_role import as_driver
from tests.support.forked_command import WIDE

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 120
"""Time for everything that is waited for. A condition that becomes true ends the waiting."""


def wait_until(condition, what):
    """Wait until a function returns something true, and return it."""
    end = monotonic() + SECONDS
    while monotonic() < end:
        found = condition()
        if found:
            return found
        sleep(0.02)
    raise AssertionError(what)


async def until(condition):
    """Wait until a function returns something true, while the event loop runs."""
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - nothing has an event for it
            await asyncio.sleep(0.01)


@dataclass
class ServeBench:
    """An initialised cell and its files.

    Attributes:
        folder: The folder with the configuration; the servers run in it.
        shards: The number of shards.
    """

    folder: Path
    shards: int

    def config(self, name, section=""):
        """Write a configuration with its own section `[serve]`, and return its path."""
        path = self.folder / f"{name}.toml"
        path.write_text(f'{(self.folder / "strongroom.toml").read_text()}\n[serve]\nsocket = "{name}.sock"\n{section}')
        path.chmod(0o600)
        return path

    def start(self, name, section="", *options, environment=None):
        """Start a server, and return it at once."""
        output = self.folder / f"{name}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [STRONGROOM, "--config", self.config(name, section), "serve", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **WIDE, **(environment or {})},
            )
        return RunningServer(process, output, self.folder / f"{name}.sock")

    @contextmanager
    def server(self, name, section="", *options, environment=None):
        """Start a server that serves, and stop it at the end."""
        server = self.start(name, section, *options, environment=environment)
        try:
            server.wait_until_it_serves()
            yield server
        finally:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                server.process.wait(SECONDS)
            server.process.kill()
            server.process.wait()


@dataclass
class RunningServer:
    """A server.

    Attributes:
        process: The supervisor's process.
        output: The file with everything that it prints.
        socket: The path of the first worker's socket.
    """

    process: subprocess.Popen
    output: Path
    socket: Path

    @property
    def text(self):
        """Everything that the server has printed."""
        return self.output.read_text()

    def wait_until_it_serves(self):
        """Wait until all workers serve."""
        self.wait_for("listening on ")

    def wait_for(self, text):
        """Wait until the server has printed a text."""
        wait_until(lambda: text in self.text or self.process.poll() is not None, f"{text!r} is not in {self.text}")
        assert text in self.text, self.text

    def ended(self):
        """Wait for the end of the supervisor, and return its exit code."""
        return self.process.wait(SECONDS)

    def health(self):
        """Return the status code and the state from the health endpoint of a server that was started with its address."""
        address = next(line for line in self.text.splitlines() if line.startswith("listening on http://"))
        connection = HTTPConnection(address.removeprefix("listening on http://").removesuffix("/health"), timeout=60)
        with suppress(ConnectionError):
            connection.request("GET", "/health")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        return 0, {}

    def workers(self):
        """Return the process ids of the workers, in their order."""
        return [worker["pid"] for worker in self.health()[1]["workers"]]

    def connect(self, worker=0):
        """Connect to a worker's socket."""
        client = socket.socket(socket.AF_UNIX)
        try:
            client.settimeout(SECONDS)
            client.connect(str(self.socket) + (f".{worker}" if worker else ""))
        except OSError:
            client.close()
            raise
        return client


def is_running(pid):
    """Return whether a process runs, and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - of the kernel
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@asynccontextmanager
async def serve_bench(databases, folder, shards=4):
    """Yield a bench on a new database, with its files in a folder. On a Citus cluster its servers connect as the role of services."""
    dsn, path = await databases.create(), folder / "strongroom.toml"
    write_config(path, dsn=dsn, shards=shards)
    await Strongroom.init(load_config(path))
    if databases.is_citus:
        await distribute(dsn)
        text = path.read_text().replace("# distributed = true", "distributed = true")
        path.write_text(text.replace(dsn, await as_driver(dsn)))
    yield ServeBench(folder, shards)
    await databases.drop(dsn)
