"""The errors of access control. A caller without a role in a namespace gets `NamespaceNotFound`, as if it did not exist."""

from __future__ import annotations

from strongroom.kms import IntegrityError, NotAuthenticated, StrongroomError

__all__ = ["InvalidPolicyChange", "NotAuthenticated", "PermissionDenied", "PolicyAltered", "PolicyRolledBack"]


class PermissionDenied(StrongroomError):  # noqa: N818 - says what happened
    """The caller may not do this. Run 'strongroom access list' to see the roles."""


class InvalidPolicyChange(StrongroomError):  # noqa: N818
    """The change of the access policy is invalid."""


class PolicyAltered(IntegrityError):  # noqa: N818
    """The access policy in the database was altered. No row of data is damaged, and no call is allowed."""


class PolicyRolledBack(PolicyAltered):
    """The access policy in the database is older than one that was in force."""
