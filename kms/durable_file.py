"""Replace files atomically and durably."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, content: bytes, *, keeps_access: bool = False) -> None:
    """Write a file with mode 0600, or replace it. After a crash the old or the new content is on disk, never a mixture.

    Args:
        path: The file.
        content: Its new content.
        keeps_access: Whether the file exists, and keeps its mode, owner and group.

    Raises:
        OSError: The file can't be written. An existing file is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if keeps_access:
                _copy_access(path.stat(), descriptor)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _copy_access(status: os.stat_result, descriptor: int) -> None:
    if (os.geteuid(), os.getegid()) != (status.st_uid, status.st_gid):
        os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, status.st_mode & 0o777)


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to disk, after files in it were created, renamed or deleted."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
