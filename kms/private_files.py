"""Files and folders that only this process's user may change: secrets, keys, certificates, audit logs. One rule for all of them.

A path is checked from the root to the file: each link on the way belongs to root or to this user, and no folder on the way can be
changed by others. So nobody else can exchange the file between a check and its use. The file itself is checked on its open descriptor.
docs/how-to/files.md is the page for operators.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 64 * 2**20
"""The maximum size of a file that is read as a whole. A larger one is not what the configuration means."""
_LINKS = 40
_OTHERS_WRITE = 0o022
_OTHERS_USE = 0o055
_MOUNTED = "..data"
"""The link through which Kubernetes and its CSI drivers mount secrets."""


class UnsafePath(PermissionError):  # noqa: N818 - says what the path is
    """A file or a folder that others can read or change. `strerror` says which it is and what to do."""

    def __init__(self, path: Path, fault: str, remedy: str) -> None:
        super().__init__(errno.EACCES, f"{path} {fault}; {remedy}", str(path))


def read_private(path: Path) -> bytes:
    """Read a file that holds a secret.

    Others may not read it. There are two exceptions: a file of root in root's group or a group of this process (credentials of
    systemd, `fsGroup` of Kubernetes), and a file that is reached through the link `..data`, because nobody but the container sees
    such a mount of Kubernetes.

    Raises:
        UnsafePath: Others can read or change the file, or exchange it.
        OSError: The file can't be read.
    """
    return _read(path, is_secret=True)


def read_trusted(path: Path) -> bytes:
    """Read a file that holds no secret but that this process relies on: a configuration, certificates, public keys.

    Others may read it, and it may have several names. Only root and this process's user may change or exchange it.

    Raises:
        UnsafePath: Others can change or exchange the file, or it is not a regular file.
        OSError: The file can't be read.
    """
    return _read(path, is_secret=False)


def check_trusted(path: Path) -> None:
    """Check a file that another library reads, as `read_trusted` does. Its size does not matter.

    Raises:
        UnsafePath: Others can change or exchange the file, or it is not a regular file.
        OSError: The file can't be read.
    """
    os.close(_opened(path, is_secret=False))


def _read(path: Path, *, is_secret: bool) -> bytes:
    with os.fdopen(_opened(path, is_secret=is_secret), "rb") as file:
        return _read_bounded(path, file)


def _read_bounded(path: Path, file: BinaryIO) -> bytes:
    content = file.read(MOST_BYTES + 1)  # not the size of its status, which is 0 in /proc
    if len(content) > MOST_BYTES:
        raise OSError(
            errno.EFBIG, f"it is larger than {MOST_BYTES >> 20} MiB; give the path of the right file", str(path)
        )
    return content


def _opened(path: Path, *, is_secret: bool) -> int:
    """Return the descriptor of a file that was checked after it was opened."""
    is_mounted = _walk(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a FIFO must not block
    try:
        status = os.fstat(descriptor)
        _check_file(path, status, may_have_names=not is_secret)
        if is_secret and not is_mounted:
            _check_unread(path, status)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_small(path: Path) -> bytes:
    """Read a file that a person names, of any owner and kind, for example a certificate from another host or a pipe.

    Raises:
        OSError: The file can't be read, or is larger than 64 MiB, as a device or a disk image is.
    """
    with path.open("rb") as file:
        return _read_bounded(path, file)


def check_private(path: Path) -> None:
    """Check a file that another library reads, for example a private key, as `read_private` does.

    Raises:
        UnsafePath: Others can read or change the file, or exchange it.
        OSError: The file can't be read.
    """
    read_private(path)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read it, of any owner, for example a copy of an audit log that an auditor reads.

    Raises:
        UnsafePath: It is a link, whose file would be shown in its place, or it is not a regular file.
        OSError: It can't be read.
    """
    if path.is_symlink():
        raise UnsafePath(path, "is a link", "put the file itself in its place")
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UnsafePath(path, "is not a regular file", "put a file in its place")
    return file


def check_descriptor(path: Path, descriptor: int) -> None:
    """Check an open file that this process writes. Others may read it, if its folder lets them.

    Raises:
        UnsafePath: It is no regular file, has a second name, belongs to another user, or others can change it.
    """
    _check_file(path, os.fstat(descriptor))


def check_folder(folder: Path) -> None:
    """Check a folder that this process writes.

    Raises:
        UnsafePath: It is a link, belongs to another user, or others can change it or exchange it.
        OSError: It can't be read.
    """
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafePath(folder, "is a link or a file, not a folder", "give the path of the folder itself")
    _check_owner(folder, status)
    if status.st_mode & _OTHERS_WRITE:
        raise UnsafePath(folder, f"has mode {_mode(status)}, so others can write in it", f"run: chmod go-w {folder}")
    _walk(folder)


def check_shared_folder(folder: Path) -> None:
    """Check a folder in which this process offers something to others, for example a socket. Others may not exchange it.

    Raises:
        UnsafePath: Others can exchange what is in the folder, or the folder itself. In a sticky folder they can't.
        OSError: It can't be read.
    """
    _walk(folder)
    _check_on_way(folder, folder.stat())


def _walk(path: Path) -> bool:
    """Check the links and folders on the way to a path. Return whether it leads through a mounted secret."""
    links, is_mounted = 0, False
    waiting = list(_parts(Path(os.path.abspath(path))))  # noqa: PTH100 - resolving would hide the links
    way = Path("/")
    while waiting:
        step = way / waiting.pop(0)
        status = step.lstat()
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            if status.st_uid not in (0, os.geteuid()):
                raise UnsafePath(step, "is a link of another user", "give the path that it leads to")
            is_mounted = is_mounted or (step.name == _MOUNTED and status.st_uid == 0)
            target = Path(os.path.normpath(way / step.readlink()))
            way, waiting = Path("/"), [*_parts(target), *waiting]
            continue
        if waiting:
            _check_on_way(step, status)
        way = step
    return is_mounted


def _parts(path: Path) -> Iterator[str]:
    return iter(path.parts[1:])


def _check_on_way(folder: Path, status: os.stat_result) -> None:
    """Refuse a folder in which others can exchange what is in it. In a sticky folder, such as /tmp, they can't."""
    if status.st_mode & stat.S_ISVTX:
        return
    is_of_group = bool(status.st_mode & stat.S_IWGRP) and status.st_gid not in (0, os.getegid())
    if status.st_mode & stat.S_IWOTH or is_of_group:
        raise UnsafePath(
            folder, f"has mode {_mode(status)}, so others can exchange files in it", f"run: chmod go-w {folder}"
        )


def _check_file(path: Path, status: os.stat_result, *, may_have_names: bool = False) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafePath(path, "is not a regular file", "give the path of a file")
    _check_owner(path, status)
    if status.st_nlink > 1 and not may_have_names:
        raise UnsafePath(
            path,
            "has a second name (a hard link), under which others may reach it",
            f"replace it by a copy: cp -p {path} NEW; mv NEW {path}",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise UnsafePath(
            path,
            f"has mode {_mode(status)}, so others can change it",
            f"check its content, and run: chmod 600 {path}",
        )


def _check_unread(path: Path, status: os.stat_result) -> None:
    if status.st_mode & _OTHERS_USE and not _is_of_group(status):
        remedy = f"run: chmod 600 {path}, and renew its secrets"
        raise UnsafePath(path, f"has mode {_mode(status)}, so others can read or change it", remedy)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (0, os.geteuid()):
        name = _user(status.st_uid)
        raise UnsafePath(
            path,
            f"belongs to another user ({name})",
            f"run the command as that user, for example: {'runuser' if os.geteuid() == 0 else 'sudo'} -u {name} -- COMMAND; "
            f"or, if no program of that user needs it, run as root: chown {_user(os.geteuid())} {path}",
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container often runs as a number
        return str(uid)


def _is_of_group(status: os.stat_result) -> bool:
    """Whether a file of root is readable by root's group or a group of this process, and by nobody else.

    Credentials of systemd have an ACL for the service's user. Its mask is shown as the mode of root's group.
    """
    is_readable_by_all = status.st_mode & stat.S_IROTH
    return (
        status.st_uid == 0 != os.geteuid()
        and not is_readable_by_all
        and status.st_gid in (0, os.getegid(), *os.getgroups())
    )


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"
