"""The heads of the key registry in PostgreSQL: verified reads, and changes that write the rows and their head in one transaction.

A change reads the rows once, checks them, computes what they become, and authenticates that. It never authenticates what it reads
after its own statements. So the database can refuse or lose a change, but can't have one authenticated that nobody asked for.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.kms import DataKeyRecord, KeyClass, KeyConflict, KeyState, RegistryAltered
from strongroom.kms.keys.registry_head import NOT_SCHEDULED, RegistryHead, RegistryKey, RegistrySummary, altered
from strongroom.storage.engine.queries import load_queries

from .registry_rows import head_of, id_of, read_registry, record_of, summary_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.row_level_security import VisibleNamespaces

IDLE_TIMEOUT = 10.0
"""Seconds after which the server ends a change of the registry whose client sends no statement. Other changes wait for it."""
_SQL = load_queries("keys/registry_heads")


@dataclass(slots=True)
class NamespaceRegistry:
    """The keys of one namespace in a transaction that may change them.

    Attributes:
        namespace_id: The namespace.
        head: The head that was read; None for a namespace without keys.
        keys: The keys by class and version. A change replaces entries.
        shredding: The digest of the shredding, which a change may replace.
    """

    namespace_id: UUID
    head: RegistryHead | None
    keys: dict[tuple[KeyClass, int], DataKeyRecord]
    shredding: bytes
    _read: tuple[dict[tuple[KeyClass, int], DataKeyRecord], bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._read = (dict(self.keys), self.shredding)

    @property
    def records(self) -> list[DataKeyRecord]:
        """The keys in the order of class and version."""
        return sorted(self.keys.values(), key=lambda key: (key.key_class.value, key.version))

    @property
    def is_changed(self) -> bool:
        """Whether the head must be written again."""
        before, shredding = self._read
        return (
            self.shredding != shredding
            or self.keys != before
            or any(key.lease != before[place].lease for place, key in self.keys.items())
        )

    def put(self, key: DataKeyRecord) -> None:
        """Add or replace a key."""
        self.keys[key.key_class, key.version] = key

    def get(self, key_class: KeyClass, version: int, state: KeyState) -> DataKeyRecord:
        """Return a key that must be in a state.

        Raises:
            KeyConflict: It is in another state, or does not exist.
        """
        key = self.keys.get((key_class, version))
        if key is None or key.state is not state:
            raise KeyConflict
        return key


@dataclass(slots=True)
class RegistryChange:
    """A transaction that changes the keys of some namespaces.

    Attributes:
        connection: Its connection.
        namespaces: The verified keys, by namespace.
        altered: The errors of the namespaces whose keys could not be verified.
    """

    connection: Connection
    namespaces: dict[UUID, NamespaceRegistry]
    altered: dict[UUID, RegistryAltered] = field(default_factory=dict)

    def of(self, namespace_id: UUID) -> NamespaceRegistry:
        """Return the keys of a namespace.

        Raises:
            RegistryAltered: The rows are not those of its head. The other namespaces can be changed.
        """
        if namespace_id in self.altered:
            raise self.altered[namespace_id]
        return self.namespaces[namespace_id]


class RegistryHeads:
    """Checks and writes heads. It remembers the newest head of each namespace, and refuses an older one.

    Args:
        cell_id: The id of the cell, whose own keys are the first in the registry.
        key: Returns the key of the heads.
        idle_timeout: Seconds after which the server ends a change whose client sends no statement.
    """

    def __init__(
        self, cell_id: UUID, key: Callable[[], Awaitable[RegistryKey]], *, idle_timeout: float = IDLE_TIMEOUT
    ) -> None:
        self._cell_id = cell_id
        self._idle_timeout = str(int(idle_timeout * 1000))
        self.key = key
        self._seen: dict[UUID, RegistryHead] = {}
        self._summary: RegistrySummary | None = None

    def seen(self, namespaces: Iterable[UUID]) -> dict[UUID, RegistryHead]:
        """Return the newest heads that this process has seen. Call this before sending a statement that reads heads."""
        return {each: self._seen[each] for each in namespaces if each in self._seen}

    def check(
        self,
        key: RegistryKey,
        namespace_id: UUID,
        head: RegistryHead | None,
        keys: Sequence[DataKeyRecord],
        seen: Mapping[UUID, RegistryHead],
    ) -> None:
        """Check the rows of a namespace, and remember its head.

        Args:
            key: The key of the heads.
            namespace_id: The namespace.
            head: Its head.
            keys: All its rows.
            seen: The answer of `seen` before the rows were read.

        Raises:
            RegistryAltered: The rows are not those of the head, or are older than before.
        """
        key.check(namespace_id, head, keys)
        assert head is not None  # noqa: S101 - it was checked
        newest = seen.get(namespace_id)
        if newest is not None and (
            head.version < newest.version or (head.version == newest.version and head != newest)
        ):
            raise altered(namespace_id, f"it is at version {head.version}, and this process has seen {newest.version}")
        self._remember(namespace_id, head)

    @asynccontextmanager
    async def change(
        self, database: Database, visible: VisibleNamespaces, namespaces: Collection[UUID]
    ) -> AsyncIterator[RegistryChange]:
        """Lock the heads of some namespaces in a transaction, and check their rows. At the end, write the heads that changed.

        The order of locks is: heads by namespace, then what the caller locks, then the summary.

        Args:
            database: The database.
            visible: The namespaces whose rows the transaction may read and write.
            namespaces: The namespaces whose keys it may change.

        Raises:
            RegistryAltered: The summary is not that of the registry. `RegistryChange.of` raises it for a namespace.
            KeyConflict: Another process changed the keys at the same time.
        """
        key = await self.key()
        ordered, seen, summary = sorted(namespaces), self.seen(namespaces), self._summary
        written: dict[UUID, RegistryHead] = {}
        async with database.transaction(visible) as connection:
            await connection.fetch(_SQL["limit_idle"], self._idle_timeout)
            await connection.fetch(_SQL["lock"], ordered)
            read = await read_registry(connection, ordered)
            change = RegistryChange(connection, {})
            for namespace_id in ordered:
                head, keys = read[namespace_id]
                try:
                    if head is not None or keys or namespace_id in seen:
                        self.check(key, namespace_id, head, keys, seen)
                except RegistryAltered as error:
                    change.altered[namespace_id] = error
                    continue
                by_place = {(each.key_class, each.version): each for each in keys}
                shredding = NOT_SCHEDULED if head is None else head.shredding
                change.namespaces[namespace_id] = NamespaceRegistry(namespace_id, head, by_place, shredding)
            yield change
            changed = [each for each in change.namespaces.values() if each.is_changed]
            if changed:
                written, summary = await self._write(connection, key, changed, summary)
        for namespace_id, head in written.items():  # they are committed
            self._remember(namespace_id, head)
        self._remember_summary(summary)

    async def all_keys(self, connection: Connection) -> dict[UUID, list[DataKeyRecord]]:
        """Return the keys of the whole cell by namespace, after checking that none is missing or older. It reads the whole registry.

        Args:
            connection: A connection that sees every namespace.

        Raises:
            RegistryAltered: The registry was changed outside of Strongroom.
        """
        key = await self.key()
        seen, newest = dict(self._seen), self._summary
        heads: dict[UUID, RegistryHead | None] = {}
        records: dict[UUID, list[DataKeyRecord]] = {}
        summary: RegistrySummary | None = None
        for row in await connection.fetch(_SQL["all"]):  # one statement, and so one snapshot
            summary = summary_of(row)
            if row["namespace_id"] is None:
                continue
            namespace_id = id_of(row)
            heads[namespace_id] = head_of(row)
            keys = records.setdefault(namespace_id, [])
            if row["class"] is not None:
                keys.append(record_of(row))
        for namespace_id, head in heads.items():
            self.check(key, namespace_id, head, records[namespace_id], seen)
        key.check_all({each: head for each, head in heads.items() if head is not None}, summary)
        _check_summary(summary, newest)
        self._remember_summary(summary)
        return records

    async def _write(
        self,
        connection: Connection,
        key: RegistryKey,
        changed: Sequence[NamespaceRegistry],
        seen: RegistrySummary | None,
    ) -> tuple[dict[UUID, RegistryHead], RegistrySummary]:
        heads = {
            each.namespace_id: key.head(
                each.namespace_id, 1 if each.head is None else each.head.version + 1, each.records, each.shredding
            )
            for each in changed
        }
        columns = zip(*((each, head.version, head.shredding, head.mac) for each, head in heads.items()), strict=True)
        if len(await connection.fetch(_SQL["put"], *map(list, columns))) != len(heads):
            raise KeyConflict
        row = await connection.fetchrow(_SQL["lock_summary"])
        summary = None if row is None else summary_of(row)
        is_first = summary is None and self._cell_id in heads and heads[self._cell_id].version == 1
        if not is_first:
            _check_summary(summary, seen)
        total = 0 if is_first else key.total(summary)
        total += sum(key.term(each.namespace_id, heads[each.namespace_id]) for each in changed)
        total -= sum(key.term(each.namespace_id, each.head) for each in changed)
        made = key.summary(1 if summary is None else summary.version + 1, total)
        if not await connection.fetch(_SQL["put_summary"], made.version, made.nonce, made.total, made.mac):
            raise KeyConflict
        return heads, made

    def _remember(self, namespace_id: UUID, head: RegistryHead) -> None:
        newest = self._seen.get(namespace_id)
        if newest is None or head.version > newest.version:
            self._seen[namespace_id] = head

    def _remember_summary(self, summary: RegistrySummary | None) -> None:
        if summary is not None and (self._summary is None or summary.version > self._summary.version):
            self._summary = summary


def _check_summary(summary: RegistrySummary | None, seen: RegistrySummary | None) -> None:
    if seen is not None and (
        summary is None or summary.version < seen.version or (summary.version == seen.version and summary != seen)
    ):
        found = "none" if summary is None else f"version {summary.version}"
        msg = f"the summary of the key registry is older than before: found {found}, and this process has seen {seen.version}"
        raise RegistryAltered(msg)
