"""The errors of access control. A namespace in which a caller has no role answers like one that does not exist: `NamespaceNotFound`."""

from __future__ import annotations

from strongroom.kms import NotAuthenticated, StrongroomError

__all__ = ["InvalidPolicyChange", "NotAuthenticated", "PermissionDenied"]


class PermissionDenied(StrongroomError):  # noqa: N818 - says what happened
    """The caller may not do this. Run 'strongroom access list' to see the roles."""


class InvalidPolicyChange(StrongroomError):  # noqa: N818
    """The change of the access policy is invalid."""
