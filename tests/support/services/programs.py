"""Server programs with a folder for their files. They run as a local process or in a container.

A container shares the network of this machine and has the folder under the same path. So a program gets the same configuration in
both ways.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import warnings
from typing import TYPE_CHECKING, Any, Protocol

from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from .choice import CannotStart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PATIENCE = 120.0


class Program(Protocol):
    """A running program."""

    def is_running(self) -> bool:
        """Return whether the program has not ended."""

    def output(self) -> str:
        """Return what the program printed."""

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal and wait for the end."""


class LocalProgram:
    """A process of this machine.

    Args:
        command: The program and its arguments.
        folder: The folder for the output.
        user: The id of the user that it runs as; None for the caller.
    """

    def __init__(self, command: Sequence[str | Path], folder: Path, *, user: int | None = None) -> None:
        self._log = folder / "output"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=user)

    def is_running(self) -> bool:
        """Return whether the process has not ended."""
        return self._process.poll() is None

    def output(self) -> str:
        """Return what the process printed."""
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal. A process is stopped when SIGSTOP returns."""
        self._process.send_signal(number)
        if number is signal.SIGSTOP:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WNOWAIT)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal and wait for the end."""
        self._process.send_signal(number)
        self._process.wait(_PATIENCE)


class ContainerProgram:
    """A program in a container, which testcontainers removes when this process ends.

    Args:
        image: The name and version of the image.
        command: The program and its arguments; empty for the image's command.
        folder: The folder that the container shares with this machine.
        environment: The environment variables of the program.
        entrypoint: The entry point; None for the image's entry point.
        make: Function that makes the container.

    Raises:
        CannotStart: No Docker engine answers, or it does not run the image.
    """

    def __init__(
        self,
        image: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        entrypoint: str | None = "",
        make: Callable[[str], Any] | None = None,
    ) -> None:
        container = (make or engine_container)(image)
        options: dict[str, Any] = {"network_mode": "host"}
        if entrypoint is not None:
            options["entrypoint"] = entrypoint
        if os.geteuid():
            options["user"] = f"{os.geteuid()}:{os.getegid()}"  # so that the files belong to the caller
        container.with_kwargs(**options).with_volume_mapping(folder, str(folder), "rw").with_envs(**(environment or {}))
        if command:
            container.with_command([str(part) for part in command])
        self._container = container
        try:
            container.start()
        except DockerException as error:
            raise CannotStart(f"the Docker engine does not run {image}: {error}") from None

    def is_running(self) -> bool:
        """Return whether the container runs."""
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return bool(wrapped.status == "running")

    def output(self) -> str:
        """Return what the program printed."""
        printed: bytes = self._container.get_wrapped_container().logs()
        return printed.decode(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program."""
        self._container.get_wrapped_container().kill(number.name)

    def stop(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, wait for the end, and remove the container."""
        wrapped = self._container.get_wrapped_container()
        wrapped.kill(number.name)
        wrapped.wait()
        self._container.stop()


def engine_container(image: str) -> DockerContainer:
    """Return a container that is not started yet.

    Raises:
        CannotStart: No Docker engine answers.
    """
    container = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            container = DockerContainer(image)
        except DockerException:
            container = None
        gc.collect()  # without an engine, only garbage collection closes the client's socket
    if container is None:
        raise CannotStart("no Docker engine answers")
    return container


def find_program(name: str) -> str:
    """Return the path of a program. The folders for administrators' programs are searched too.

    Raises:
        CannotStart: The program is not installed.
    """
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        raise CannotStart(f"no program {name}")
    return path
