"""Replace files atomically and durably."""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, content: bytes, *, keeps_access: bool = False) -> None:
    """Write a file with mode 0600, or replace it. After a crash the old or the new content is on disk, never a mixture.

    A crash can leave a second file, with any part of the new content. The next call removes it. So callers keep other writers out.

    Args:
        path: The file.
        content: Its new content.
        keeps_access: Whether the file exists, and keeps its mode, owner and group.

    Raises:
        OSError: The file can't be written. An existing file is unchanged.
    """
    remove_unfinished(path)
    temporary = temporary_of(path)
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


def temporary_of(path: Path) -> Path:
    """Return the name under which a new content of a file is written before it is complete."""
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}.new")


def remove_unfinished(path: Path) -> None:
    """Remove what a killed writer of a file left in its folder: a keyring's temporary file has keys.

    Raises:
        OSError: A file can't be removed.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.new"):
        left.unlink(missing_ok=True)


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
