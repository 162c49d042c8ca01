"""What access control raises. A namespace in which a caller has no role answers as one that is not there: `NamespaceNotFound`."""

from __future__ import annotations

from strongroom.kms import StrongroomError


class NotAuthenticated(StrongroomError):  # noqa: N818 - says what happened
    """Nobody is known by this name, certificate or API key, or it has expired or was revoked."""


class PermissionDenied(StrongroomError):  # noqa: N818
    """The caller may not do this. `strongroom access list` shows who may."""


class InvalidPolicyChange(StrongroomError):  # noqa: N818
    """The change of rights can't be made."""
