"""The errors of the audit log."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from strongroom.kms import StrongroomError
from strongroom.kms.private_files import UnsafePath

if TYPE_CHECKING:
    from pathlib import Path


class AuditUnavailable(StrongroomError):  # noqa: N818 - says what happened
    """The audit log can't be written, so nothing was done. Run 'strongroom doctor' to check its folder and disk."""

    retryable: ClassVar[bool] = True


def unwritable(folder: Path, error: Exception) -> str:
    """Return a message that names the folder, the reason and what to do."""
    if isinstance(error, UnsafePath):  # it names the path, and the command that repairs it
        return f"the audit log can't be written, so nothing was done: {error.strerror}; or set audit.folder to another folder"
    cause = error.strerror if isinstance(error, OSError) else type(error).__name__
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        advice = "make room on its disk"
    else:
        advice = (
            "set audit.folder in the configuration to a folder that this user can write, for example a mounted volume"
        )
    return f"the audit log can't be written, so nothing was done: {folder}: {cause}; {advice}"
