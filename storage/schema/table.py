"""The descriptor of a table, and how the descriptors of `tables.py` are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.kms import RecordKind

NAMESPACE = "namespace_id"
"""The column that names a row's namespace; in some tables it may hold the cell's id."""
READ, REPLACE = "SELECT", "SELECT, UPDATE"
CHANGE, ALL = "SELECT, INSERT, UPDATE", "SELECT, INSERT, UPDATE, DELETE"


class Sealed(NamedTuple):
    """A sealed column of a table.

    Attributes:
        column: Its name.
        kind: The record kind of its values.
        parts: The columns that give the parts of the value's key, in the kind's order.
    """

    column: str
    kind: RecordKind
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the schema.

    Attributes:
        name: Its name.
        key: The columns of its primary key in order, each with its SQL type.
        holds: What it holds, for the reference.
        rights: What the driver role may do with it, as in GRANT.
        partition_column: The first column of the key, by which Citus distributes the table. None: it stays on the coordinator.
        namespaced: Whether it has the column `namespace_id`, and so a row-level-security policy.
        is_purged: Whether a shredding deletes its rows.
        has_namespace_index: Whether an index begins with the namespace, because the key does not continue with it.
        sealed: Its sealed columns.
    """

    name: str
    key: tuple[tuple[str, str], ...]
    holds: str
    rights: str
    partition_column: str | None = None
    namespaced: bool = False
    is_purged: bool = False
    has_namespace_index: bool = False
    sealed: tuple[Sealed, ...] = ()

    @property
    def key_names(self) -> tuple[str, ...]:
        """The names of the primary key's columns."""
        return tuple(name for name, _ in self.key)

    @property
    def is_keyed_by_namespace(self) -> bool:
        """Whether the key continues with the namespace after its first column, so that a look-up finds a namespace's rows."""
        return self.key_names[1:2] == (NAMESPACE,)


def key_columns(columns: str) -> tuple[tuple[str, str], ...]:
    """Parse a key: columns and types, separated by commas."""
    return tuple((name, type_) for name, _, type_ in (each.strip().partition(" ") for each in columns.split(",")))


def key_text(names: Iterable[str], values: Iterable[object]) -> str:
    """Return columns of a key as `name=value`. Tokens are written in hex, so no value of a tenant is in it."""
    return " ".join(
        f"{name}={value.hex() if isinstance(value, bytes) else value}"
        for name, value in zip(names, values, strict=True)
    )


def cell_table(
    name: str,
    key: str,
    holds: str,
    rights: str,
    *sealed: tuple[str, RecordKind, str],
    namespaced: bool = False,
) -> Table:
    """Return a table of the whole cell. Each sealed column is its name, its kind and the columns of its key's parts."""
    columns = tuple(Sealed(column, kind, tuple(parts.split())) for column, kind, parts in sealed)
    return Table(name, key_columns(key), holds, rights, namespaced=namespaced, sealed=columns)


def partitioned(
    name: str,
    key: str,
    holds: str,
    kind: RecordKind | None = None,
    *,
    more: str = "",
    rights: str = ALL,
    namespaced: bool = True,
    has_namespace_index: bool = False,
) -> Table:
    """Return a distributed table whose sealed column, if it has a kind, is `data`.

    The value's key is the table's key without the namespace, and the columns `more`.
    """
    typed = key_columns(key)
    parts = (*(column for column, _ in typed if column != NAMESPACE), *more.split())
    return Table(
        name,
        typed,
        holds,
        rights,
        partition_column=typed[0][0],
        namespaced=namespaced,
        is_purged=namespaced,
        has_namespace_index=has_namespace_index,
        sealed=() if kind is None else (Sealed("data", kind, parts),),
    )
