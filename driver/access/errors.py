"""The errors of access control. A caller without a role in a namespace gets `NamespaceNotFound`, as if it did not exist."""

from __future__ import annotations

from strongroom.kms import IntegrityError, NotAuthenticated, StrongroomError

__all__ = ["InvalidPolicyChange", "NotAuthenticated", "PermissionDenied", "PolicyAltered", "PolicyRolledBack"]


class PermissionDenied(StrongroomError):  # noqa: N818 - says what happened
    """The caller may not do this. An owner can give it a role with 'strongroom access bind'."""


def no_role(principal: str, operation: str) -> str:
    """Return the message of a `PermissionDenied` for an operation that none of the principal's roles allows."""
    return (
        f"{principal} has no role that allows {operation}. 'strongroom access list' shows the roles of each principal, "
        "and docs/reference/operations.md the permission that the operation needs"
    )


class InvalidPolicyChange(StrongroomError):  # noqa: N818
    """The change of the access policy is invalid."""


class PolicyAltered(IntegrityError):  # noqa: N818
    """The access policy in the database was altered. No row of data is damaged, and no call is allowed."""


class PolicyRolledBack(PolicyAltered):
    """The access policy in the database is older than one that was in force."""
