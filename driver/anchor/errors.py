"""Errors of anchors outside of the database."""

from __future__ import annotations

from strongroom.kms import StrongroomError


class AnchorUnavailable(StrongroomError):  # noqa: N818 - says what happened
    """An anchor outside of the database can't be read or written.

    Attributes:
        code: The code of the object store's answer; "" if it did not answer.
    """

    def __init__(self, message: str | None = None, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code
