"""What the audit log raises."""

from __future__ import annotations

from typing import ClassVar

from strongroom.kms import StrongroomError


class AuditUnavailable(StrongroomError):  # noqa: N818 - says what happened
    """The audit log can't be written, so nothing was done. `strongroom doctor` looks at its folder and disk."""

    retryable: ClassVar[bool] = True
