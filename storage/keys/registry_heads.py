"""The heads of the key registry in PostgreSQL: verified reads, and changes that write the rows and their head in one transaction.

A change reads the rows once, checks them, computes what they become, and authenticates that. It never authenticates what it reads
after its own statements. So the database can refuse or lose a change, but can't have one authenticated that nobody asked for.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.kms import KeyConflict, RegistryAltered
from strongroom.kms.keys.registry_head import NOT_SCHEDULED, RegistryHead, RegistryKey, RegistrySummary, altered
from strongroom.storage.cell.positions import REGISTRY, Position, is_older
from strongroom.storage.engine.queries import load_queries

from .namespace_registry import NamespaceRegistry
from .registry_rows import digest_of, head_of, id_of, read_registry, record_of, summary_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import DataKeyRecord
    from strongroom.storage.engine.connection import Connection
    from strongroom.storage.engine.database import Database
    from strongroom.storage.engine.row_level_security import VisibleNamespaces

IDLE_TIMEOUT = 10.0
"""Seconds after which the server ends a change of the registry whose client sends no statement. Other changes wait for it."""
_SQL = load_queries("keys/registry_heads")


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
    """Checks and writes heads. It remembers the newest head of each namespace and the newest summary, and refuses older ones.

    Attributes:
        newest: The position of the newest summary that this process has seen, or that an anchor has; None for none. Read it before
            sending a statement that reads the summary.
        alterations: The number of times that the registry was found to be altered or older, for monitoring.

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
        self.newest: Position | None = None
        self.alterations = 0

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
        with self._counted():
            key.check(namespace_id, head, keys)
            assert head is not None  # noqa: S101 - it was checked
            newest = seen.get(namespace_id)
            if newest is not None and (
                head.version < newest.version or (head.version == newest.version and head != newest)
            ):
                what = f"it is at version {head.version}, and this process has seen {newest.version}"
                raise altered(namespace_id, what)
        self._remember(namespace_id, head)

    def check_summary(self, key: RegistryKey, summary: RegistrySummary | None, newest: Position | None) -> None:
        """Check the summary, and remember its position.

        Args:
            key: The key of the heads.
            summary: The summary.
            newest: The value of `newest` before the summary was read.

        Raises:
            RegistryAltered: It is missing, was altered, or is older than before.
        """
        if summary is None and newest is None:
            return  # the registry is empty
        with self._counted():
            key.total(summary)
            assert summary is not None  # noqa: S101 - it was checked
            found = Position(REGISTRY, summary.version, digest_of(summary))
            if newest is not None and is_older(found, newest):
                msg = (
                    f"the summary of the key registry is older than before: found {found}, and this process has seen {newest}. "
                    "Its keys are not used; restore the registry from a backup"
                )
                raise RegistryAltered(msg)
        self.anchored(found)

    def anchored(self, position: Position) -> None:
        """Refuse a summary that is older than this position from now on."""
        if self.newest is None or position.number > self.newest.number:
            self.newest = position

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except RegistryAltered:
            self.alterations += 1
            raise

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
        ordered, seen, newest = sorted(namespaces), self.seen(namespaces), self.newest
        written: dict[UUID, RegistryHead] = {}
        summary: RegistrySummary | None = None
        async with database.transaction(visible) as connection:
            await connection.fetch(_SQL["limit_idle"], self._idle_timeout)
            await connection.fetch(_SQL["lock"], ordered)
            _, read = await read_registry(connection, ordered)
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
                written, summary = await self._write(connection, key, changed, newest)
        for namespace_id, head in written.items():  # they are committed
            self._remember(namespace_id, head)
        if summary is not None:
            self.anchored(Position(REGISTRY, summary.version, digest_of(summary)))

    async def all_keys(self, connection: Connection) -> dict[UUID, list[DataKeyRecord]]:
        """Return the keys of the whole cell by namespace, after checking that none is missing or older. It reads the whole registry.

        Args:
            connection: A connection that sees every namespace.

        Raises:
            RegistryAltered: The registry was changed outside of Strongroom.
        """
        key = await self.key()
        seen, newest = dict(self._seen), self.newest
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
        with self._counted():
            key.check_all({each: head for each, head in heads.items() if head is not None}, summary)
        self.check_summary(key, summary, newest)
        return records

    async def _write(
        self,
        connection: Connection,
        key: RegistryKey,
        changed: Sequence[NamespaceRegistry],
        newest: Position | None,
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
            self.check_summary(key, summary, newest)
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
