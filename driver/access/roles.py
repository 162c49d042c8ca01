"""The roles and their permissions: the roles of Temporal Cloud, two roles for security, and one for the service's own processes.

Most operations need one permission (`driver/stores.py`). A few need none, for example those that list or request grants.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.driver.operations import Permission

if TYPE_CHECKING:
    from collections.abc import Mapping

IN_NAMESPACE = frozenset({Permission.READ, Permission.WRITE, Permission.ADMIN})
"""The permissions that can be limited to one namespace."""

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
"""Roles in the whole cell. A `developer` becomes the `admin` of each namespace that they create."""

NAMESPACE_ROLES: Mapping[str, frozenset[Permission]] = MappingProxyType(
    {
        "admin": IN_NAMESPACE,
        "write": frozenset({_P.READ, _P.WRITE}),
        "read": frozenset({_P.READ}),
    }
)
"""Roles in one namespace."""
