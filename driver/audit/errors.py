"""The errors of the audit log."""

from __future__ import annotations

from typing import ClassVar

from strongroom.kms import StrongroomError


class AuditUnavailable(StrongroomError):  # noqa: N818 - says what happened
    """The audit log can't be written, so nothing was done. Run 'strongroom doctor' to check its folder and disk."""

    retryable: ClassVar[bool] = True
