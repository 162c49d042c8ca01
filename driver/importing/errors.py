"""The errors of an import file."""

from __future__ import annotations

from strongroom.kms import StrongroomError


class ImportFileError(StrongroomError):
    """An import file can't be used. The message has the line and the fault, and no value of the file."""


class Fault(Exception):  # noqa: N818 - turned into ImportFileError where the line is known
    """A fault of one document."""
