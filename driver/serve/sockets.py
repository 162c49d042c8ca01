"""The listening sockets of the workers: one path for each, a lock that only one server has, and no stale socket in the way."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import stat
import sys
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

from strongroom.driver.config import ConfigError
from strongroom.kms import UnsafePath, check_shared_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LONGEST = 107
"""The maximum length of a socket's path in bytes. Linux has 108, with the zero at the end."""
BACKLOG = 512
"""Connections that wait while a worker is started again."""
KEEP_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""Options of asyncio's servers, so that a worker that ends leaves the socket's file to the next process of the same worker."""
ORPHANS_SECONDS = 5.0
"""Time for workers of a killed server to end, in seconds."""


def worker_path(path: Path, worker: int) -> Path:
    """Return the path of a worker's socket."""
    return path if worker == 0 else path.with_name(f"{path.name}.{worker}")


class WorkerSockets:
    """The listening sockets of all workers.

    Attributes:
        sockets: The sockets, by worker.

    Args:
        path: The path of the first worker's socket.
        workers: The number of workers.
        orphans_seconds: Time for workers of a killed server to end, in seconds.

    Raises:
        ConfigError: A path can't be used, or another server listens on it.
    """

    def __init__(self, path: Path, workers: int, *, orphans_seconds: float = ORPHANS_SECONDS) -> None:
        self._locked, self._listening = ExitStack(), ExitStack()
        self.sockets: list[socket.socket] = []
        path = path.absolute()
        paths = [worker_path(path, worker) for worker in range(workers)]
        _check_path(path, paths[-1])
        try:
            with self._locked, self._listening:
                self._locked.callback(_lock(path))
                for other in _numbered(path) - set(paths):
                    remove_stale(other, orphans_seconds)
                for each in paths:
                    remove_stale(each, orphans_seconds)
                    listening, unlink = listen(each)
                    self._listening.callback(listening.close)
                    self._listening.callback(unlink)
                    self.sockets.append(listening)
                self._locked, self._listening = self._locked.pop_all(), self._listening.pop_all()
        except OSError as error:
            msg = f"can't listen on {path}: {error.strerror}; {_advice(error)}"
            raise ConfigError(msg) from None

    def refuse(self) -> None:
        """Remove the sockets, so that nobody connects any more. The lock stays, because workers still answer calls."""
        self._listening.close()

    def close(self) -> None:
        """Remove the sockets and the lock."""
        self._listening.close()
        self._locked.close()


def listen(path: Path) -> tuple[socket.socket, Callable[[], None]]:
    """Listen on a new socket of mode 0660.

    Args:
        path: The path, where no file exists.

    Returns:
        The socket, and a function that removes its file if that is still the same one.

    Raises:
        OSError: The path can't be used.
    """
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)
    try:
        listening.bind(str(path))
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    made = path.lstat()
    listening.listen(BACKLOG)

    def unlink() -> None:
        with suppress(OSError):
            now = path.lstat()
            if (now.st_dev, now.st_ino) == (made.st_dev, made.st_ino):
                path.unlink()

    return listening, unlink


def _check_path(path: Path, longest: Path) -> None:
    size = len(os.fsencode(longest))
    if size > LONGEST:
        msg = f"the path {longest} has {size} bytes, and a socket's path has at most {LONGEST}; choose a shorter serve.socket"
        raise ConfigError(msg)
    try:
        check_shared_folder(path.parent)
        is_folder = path.parent.is_dir()
    except UnsafePath as error:  # another user could put a socket of their own in the place of this one
        msg = f"serve.socket can't be in {path.parent}: {error.strerror}"
        raise ConfigError(msg) from None
    except OSError as error:
        msg = f"the folder {path.parent} of serve.socket can't be used: {error.strerror}; create it, and let this user write in it"
        raise ConfigError(msg) from None
    if not is_folder:
        msg = f"{path.parent} is not a folder, so no socket can be in it; correct serve.socket"
        raise ConfigError(msg)


def _lock(path: Path) -> Callable[[], None]:
    """Take the lock of a socket. The kernel releases it when this process ends, however it ends."""
    lock = path.with_name(f"{path.name}.lock")
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(descriptor, lock):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                break
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            process = f" (process {holder})" if holder.isdigit() else ""
            msg = f"another strongroom serve{process} listens on {path}; stop it, or give this one another serve.socket"
            raise ConfigError(msg) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder removed the file meanwhile

    def release() -> None:
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)

    return release


def _is_same_file(descriptor: int, path: Path) -> bool:
    opened = os.fstat(descriptor)
    try:
        named = path.lstat()
    except FileNotFoundError:
        return False
    return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)


def _numbered(path: Path) -> set[Path]:
    """Return the sockets of other workers, which a server with more workers may have left."""
    form = re.compile(re.escape(path.name) + r"\.[1-9][0-9]*")
    return {each for each in path.parent.iterdir() if form.fullmatch(each.name) and stat.S_ISSOCK(each.lstat().st_mode)}


def remove_stale(path: Path, seconds: float, setting: str = "serve.socket") -> None:
    """Remove a socket that nobody listens on. The workers of a killed server end by themselves, within moments.

    Args:
        path: The path of the socket.
        seconds: Time for the processes that listen to end, in seconds.
        setting: The setting that names the path, for messages.

    Raises:
        ConfigError: Another program listens on the path, or it is not a socket.
        OSError: The path can't be used.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            msg = f"{path} exists and is not a socket; remove it, or choose another {setting}"
            raise ConfigError(msg)
        if not _is_live(path):
            path.unlink(missing_ok=True)
            return
        if time.monotonic() >= end:
            msg = f"another program listens on {path}; stop it, or choose another {setting}"
            raise ConfigError(msg)
        time.sleep(0.05)


def _is_live(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as other:
        other.setblocking(False)
        try:
            other.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except BlockingIOError:
            pass  # a process listens, and many callers wait for it
    return True


def _advice(error: OSError) -> str:
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return "let this user write in the folder, or choose another serve.socket"
    return "choose another serve.socket"
