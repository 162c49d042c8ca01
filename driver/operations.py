"""The types of the table of operations (`stores.py`): what an operation does, and what its caller needs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal, TypeAlias

Activity: TypeAlias = Literal["create", "read", "update", "delete"]
Scope: TypeAlias = Literal["cell", "namespace", "filtered"]


class Permission(StrEnum):
    """A permission. Operations need it, and roles give it. `READ`, `WRITE` and `ADMIN` are given in one namespace or in all."""

    READ = "namespace.read"
    """Read a tenant's data."""
    WRITE = "namespace.write"
    """Write a tenant's data."""
    ADMIN = "namespace.admin"
    """Change a namespace's settings; delete it."""
    SERVICE = "cell.service"
    """The service's own work: shards, tasks of all namespaces, queues, membership."""
    ACCOUNT_READ = "account.read"
    """List namespaces, keys and clusters."""
    CREATE_NAMESPACE = "account.create_namespace"
    """Create namespaces."""
    ACCOUNT_ADMIN = "account.admin"
    """Change principals, roles, indexes and endpoints."""
    OWNER = "account.owner"
    """Set the retention of the audit log."""
    KEYS = "keys"
    """Rotate, re-wrap, retire and destroy keys."""
    SHRED = "shred"
    """Destroy a namespace's keys and rows."""
    AUDIT = "audit"
    """Read, verify and export the audit log; list principals and their roles."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a store, or of a command.

    Attributes:
        method: The store's method, or the verb of a command.
        permission: The permission that the caller needs; None if every known principal may do it.
        activity: The kind of the operation. A read has one audit record, or two if it fails. Any other operation has two.
        scope: The subject of the operation: the cell; the namespaces that its arguments name; or a list that is
            filtered down to what the caller may see.
        arguments: The arguments that an audit record holds as keyed hashes, separated by spaces. Arguments in
            a request have the names of its fields.
        batch: The database function that several calls share; "" if each call has its own statements.
        barrier: Whether the store takes `barrier=`, and so waits for the audit record itself, in one wait for all
            calls that share a statement.
        dual_control: Whether a second person must have approved the operation with a grant.
        makes_namespace: Whether the caller becomes admin of the namespace that the operation creates.
        area: The store, or the group of commands.
        name: Area and method; the name in grants and in the audit log.
        recorded: `arguments` as a set.
        reads: Whether the operation changes nothing.
    """

    method: str
    permission: Permission | None
    activity: Activity
    scope: Scope
    arguments: str = ""
    batch: str = ""
    barrier: bool = False
    dual_control: bool = False
    makes_namespace: bool = False
    area: str = ""
    name: str = field(init=False)
    recorded: frozenset[str] = field(init=False)
    reads: bool = field(init=False)

    def __post_init__(self) -> None:
        """Derive the fields that sessions use in each call."""
        object.__setattr__(self, "name", f"{self.area}.{self.method}")
        object.__setattr__(self, "recorded", frozenset(self.arguments.split()))
        object.__setattr__(self, "reads", self.activity == "read")


@dataclass(frozen=True, slots=True, eq=False)
class Store:
    """A store of a cell.

    Attributes:
        name: The attribute of `Strongroom`.
        type: The store's class.
        operations: The operations that a session has. Other methods of the store can't be called through a session.
    """

    name: str
    type: type
    operations: tuple[Operation, ...]

    def __post_init__(self) -> None:
        """Name the operations after the store."""
        own = tuple(replace(operation, area=self.name) for operation in self.operations)
        object.__setattr__(self, "operations", own)


def command(
    name: str,
    permission: Permission | None,
    activity: Activity,
    scope: Scope,
    arguments: str = "",
    *,
    dual_control: bool = False,
) -> Operation:
    """Return an operation of the command line that is not a call of a store; see `Session.performing`.

    Args:
        name: Area and verb, such as `keys.rotate`.
        permission: See `Operation`.
        activity: See `Operation`.
        scope: See `Operation`.
        arguments: See `Operation`.
        dual_control: See `Operation`.
    """
    area, _, verb = name.partition(".")
    return Operation(verb, permission, activity, scope, arguments, dual_control=dual_control, area=area)
