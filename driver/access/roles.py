"""Roles, and what each of them may do. Temporal Cloud's roles, two for security, and one for the service's own processes.

A role gives permissions; an operation needs one (`catalogue.py`). Whoever has no role may do nothing.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Permission(StrEnum):
    """What an operation needs; the first three are had in a namespace, or in all of them."""

    READ = "namespace.read"
    """Read what a tenant wrote."""
    WRITE = "namespace.write"
    """Write it."""
    ADMIN = "namespace.admin"
    """Change a namespace's settings; delete it."""
    SERVICE = "cell.service"
    """What only the service's own processes do: shards, tasks of all namespaces, queues, membership."""
    ACCOUNT_READ = "account.read"
    """See which namespaces, keys and clusters there are."""
    CREATE_NAMESPACE = "account.create_namespace"
    ACCOUNT_ADMIN = "account.admin"
    """Principals and roles, indices, endpoints."""
    OWNER = "account.owner"
    """Retention of the audit log."""
    KEYS = "keys"
    """Rotate, re-wrap, retire and destroy keys."""
    SHRED = "shred"
    """Destroy a namespace's keys and rows."""
    AUDIT = "audit"
    """Read, check and export the audit log; see who may do what."""


IN_NAMESPACE = frozenset({Permission.READ, Permission.WRITE, Permission.ADMIN})
"""Permissions that a role in a namespace can give."""

_P = Permission
ACCOUNT_ROLES: Mapping[str, frozenset[Permission]] = MappingProxyType(
    {
        "owner": frozenset(Permission),
        "admin": IN_NAMESPACE | {_P.ACCOUNT_READ, _P.CREATE_NAMESPACE, _P.ACCOUNT_ADMIN},
        "developer": frozenset({_P.ACCOUNT_READ, _P.CREATE_NAMESPACE}),
        "read-only": frozenset({_P.ACCOUNT_READ}),
        "key-custodian": frozenset({_P.ACCOUNT_READ, _P.KEYS, _P.SHRED}),
        "auditor": frozenset({_P.ACCOUNT_READ, _P.AUDIT}),
        "service": IN_NAMESPACE | {_P.ACCOUNT_READ, _P.CREATE_NAMESPACE, _P.SERVICE},
    }
)
"""Roles in the whole cell. Who has `developer` gets the role `admin` in namespaces that it makes."""

NAMESPACE_ROLES: Mapping[str, frozenset[Permission]] = MappingProxyType(
    {
        "admin": IN_NAMESPACE,
        "write": frozenset({_P.READ, _P.WRITE}),
        "read": frozenset({_P.READ}),
    }
)
"""Roles in one namespace."""
