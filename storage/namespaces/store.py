"""Namespaces: the unit of isolation. Each has keys of its own, and its name is nowhere in clear."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from strongroom.kms import (
    IntegrityError,
    KeyConflict,
    KeyDestroyed,
    KeyDisabled,
    KeyringFileError,
    KeyState,
    KmsError,
    Suite,
    UnsupportedFormat,
    WrongRegion,
    check_region,
    create_data_keys,
    destroy_data_keys,
)
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import (
    ConditionFailed,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
)

from .purge import purge_namespace
from .rows import NamespaceDetails, NamespaceRows, check_name, check_region_of, open_details

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.kms import KekRef, Keyring
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

    from .purge import Progress

_SQL = load_queries("namespaces/store")
_CHANGE_ATTEMPTS = 10
UNREADABLE = (KmsError, KeyringFileError, IntegrityError, UnsupportedFormat)
"""Why a namespace may not be shown; it is listed with the reason, and hides no other."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace as its owner sees it.

    Attributes:
        namespace_id: in clear in every row.
        name: sealed; None when the namespace is shredded, or its keys can't be had now (`unreadable` says why).
        version: rises with each change.
        created_at: UTC.
        shredded_at: UTC; None while it lives.
        search_attributes: registered custom search attributes: name to type, as Temporal names types.
        aliases: other names under which its search attributes are asked for.
        unreadable: why the name can't be shown; None when it can.
        shred_due_at: in a list, when it may be shredded for good, if that was asked for: until then it can be taken back.
        region: that it is bound to; None where its name is None, and in a cell of no region.
    """

    namespace_id: UUID
    name: str | None
    version: int
    created_at: datetime
    shredded_at: datetime | None = None
    search_attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unreadable: str | None = None
    shred_due_at: datetime | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Shredded:
    """What shredding a namespace did: keys destroyed, and rows deleted by table, as `purge_namespace` tells them."""

    namespace_id: UUID
    keys_destroyed: int
    rows_deleted: Mapping[str, int]


class NamespaceStore:
    """Namespaces as their owner sees them: names, keys, search attributes. `MetadataStore` is the same ones as a service sees them.

    Names are looked up by tokens under the keys of the *cell*, a namespace of its own whose id is the cell's; what else is known of a
    namespace is sealed under its own keys, and goes with them.

    Args:
        database: where they are.
        keyring: for their keys and the cell's.
        index_layout: what visibility documents of a new namespace hold; text of a `strongroom.visibility.Layout`.
    """

    def __init__(self, database: Database, keyring: Keyring, *, index_layout: str = "") -> None:
        self._database = database
        self._keyring = keyring
        self._index_layout = index_layout
        self._rows = NamespaceRows(database, keyring)

    async def ensure_cell_keys(self, kek: KekRef) -> None:
        """Make the cell's own keys where there are none; several callers at once make them once."""
        cell_id = self._keyring.cell_id
        if await self._keyring.store.list_data_keys(cell_id):
            return
        with suppress(KeyConflict):  # another `init` was first; its keys are as good
            await create_data_keys(self._keyring, cell_id, kek)

    async def create(
        self,
        name: str,
        *,
        kek: KekRef,
        search_attributes: Mapping[str, str] | None = None,
        suite: Suite = Suite.XAES_256_GCM,
        index_layout: str | None = None,
        region: str | None = None,
    ) -> Namespace:
        """Create a namespace with keys of its own, wrapped by `kek`.

        Args:
            name: 1 to 255 bytes.
            kek: of a configured provider.
            search_attributes: custom ones, name to type.
            suite: of its rows.
            index_layout: what its visibility documents hold; None for what those of any new namespace do.
            region: that it is to be bound to; None for the cell's. There is no other.

        Raises:
            NamespaceAlreadyExists: the name is taken.
            InvalidPersistenceRequest: the name is empty, or longer than 255 bytes.
            WrongRegion: the region or the KEK's is not the cell's.
            KmsError: the KEK can't be used.
        """
        check_namespace_region(region, self._keyring.region)
        if await self._rows.by_token(await self._rows.name_token(name)) is not None:
            raise NamespaceAlreadyExists
        attributes = MappingProxyType(dict(search_attributes or {}))
        namespace = Namespace(
            uuid4(), name, 1, datetime.now(UTC), search_attributes=attributes, region=self._keyring.region
        )
        # Keys first: a crash leaves keys that nobody uses, never a namespace without keys.
        layout = self._index_layout if index_layout is None else index_layout
        await create_data_keys(self._keyring, namespace.namespace_id, kek, suite=suite, index_layout=layout)
        details = NamespaceDetails(name, attributes, region=namespace.region)
        try:
            await self._rows.insert(
                namespace.namespace_id, details, created_at=namespace.created_at, data=DataBlob(b""), is_global=False
            )
        except NamespaceAlreadyExists:
            await destroy_data_keys(self._keyring, namespace.namespace_id)
            raise
        return namespace

    async def get(self, name: str) -> Namespace:
        """Return a living namespace by its name.

        Raises:
            NamespaceNotFound: no such name, or it was shredded.
        """
        return await self._open(await self._rows.by_name(name), name)

    async def find(self, name: str) -> UUID:
        """Return the id of a namespace by its name; also of one that is to be shredded, or whose shredding broke off.

        Raises:
            NamespaceNotFound: no such name, or shredding it was finished.
        """
        row = await self._rows.by_name(name)
        with suppress(KeyDestroyed, KeyDisabled):
            await self._open(row, name)
        return _bare(row).namespace_id

    async def list_namespaces(self) -> Sequence[Namespace]:
        """Return all namespaces, the shredded ones too. One whose keys can't be had is listed, and says why."""
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["list"])
        listed = []
        for row in rows:
            try:
                listed.append(await self._open(row))
            except UNREADABLE as error:
                listed.append(replace(_bare(row), unreadable=str(error)))
        return listed

    async def add_search_attributes(self, namespace_id: UUID, added: Mapping[str, str]) -> Namespace:
        """Register more custom search attributes; names that are registered with the same type are left as they are.

        Returns:
            The namespace as it is then.

        Raises:
            NamespaceNotFound: no such namespace, or it was shredded.
            InvalidPersistenceRequest: a name is registered with another type.
            ConditionFailed: others kept changing the namespace.
        """

        def add(namespace: Namespace) -> Namespace:
            known = namespace.search_attributes
            if any(known.get(name, kind) != kind for name, kind in added.items()):
                msg = "a search attribute is registered with another type; the type of an attribute never changes"
                raise InvalidPersistenceRequest(msg)
            if not namespace.aliases.keys().isdisjoint(added):
                msg = "a search attribute has the name of an alias; take the alias away first"
                raise InvalidPersistenceRequest(msg)
            return replace(namespace, search_attributes=MappingProxyType({**known, **added}))

        return await self._change(namespace_id, add)

    async def set_aliases(self, namespace_id: UUID, aliases: Mapping[str, str | None]) -> Namespace:
        """Give search attributes other names to be asked for by; records keep the names that they were registered by.

        Args:
            namespace_id: whose.
            aliases: each to the registered name that it stands for, or to None to take it away.

        Returns:
            The namespace as it is then.

        Raises:
            NamespaceNotFound: no such namespace, or it was shredded.
            InvalidPersistenceRequest: an alias is a registered name, or stands for what is none.
            ConditionFailed: others kept changing the namespace.
        """

        def name(namespace: Namespace) -> Namespace:
            known = namespace.search_attributes
            merged = {**namespace.aliases, **aliases}
            kept = {alias: target for alias, target in merged.items() if target is not None}
            if not known.keys().isdisjoint(kept):
                msg = "an alias is the name of a search attribute already"
                raise InvalidPersistenceRequest(msg)
            if not known.keys() >= set(kept.values()):
                msg = "an alias stands for a search attribute that is not registered"
                raise InvalidPersistenceRequest(msg)
            return replace(namespace, aliases=MappingProxyType(kept))

        return await self._change(namespace_id, name)

    async def _change(self, namespace_id: UUID, edit: Callable[[Namespace], Namespace]) -> Namespace:
        """Change what is sealed of a namespace; anew where somebody else changes it at the same time."""
        for _ in range(_CHANGE_ATTEMPTS):
            row = await self._rows.by_id(namespace_id)
            if row is None or row["shredded_at"] is not None:
                raise NamespaceNotFound
            namespace = await self._open(row)
            changed = edit(namespace)
            if changed == namespace:
                return namespace
            changed = replace(changed, version=namespace.version + 1)
            assert changed.name is not None  # noqa: S101 - it was opened
            keys = await self._keyring.open(namespace_id)
            details = NamespaceDetails(changed.name, changed.search_attributes, changed.aliases, changed.region)
            async with self._database.connection(namespace_id) as connection:
                sealed = details.seal(keys, changed.version)
                if await connection.fetch(_SQL["update"], namespace_id, namespace.version, sealed):
                    return changed
        raise ConditionFailed

    async def shred(self, namespace_id: UUID, *, progress: Progress | None = None) -> Shredded:
        """Destroy all keys of a namespace, then delete its rows. There is no way back; it can be run again to finish.

        What no deletion reaches: backups of this database, for as long as the KEK that wrapped the keys exists.
        """
        if namespace_id == self._keyring.cell_id:
            msg = "this is the cell itself: without its keys no namespace can be found by name"
            raise InvalidPersistenceRequest(msg)
        tombstones = await destroy_data_keys(self._keyring, namespace_id)
        deleted = await purge_namespace(self._database, namespace_id, progress=progress)
        # The name goes last: until then it finds what is left to delete.
        async with self._database.connection(namespace_id) as connection:
            await connection.execute(_SQL["shred"], namespace_id, datetime.now(UTC))
        destroyed = sum(record.state is KeyState.DESTROYED for record in tombstones)
        return Shredded(namespace_id, destroyed, deleted)

    async def _open(self, row: Row, name: str | None = None) -> Namespace:
        namespace = _bare(row)
        if namespace.shredded_at is not None:
            return namespace
        details = await self._keyring.with_keys(namespace.namespace_id, lambda keys: open_details(keys, row))
        check_region_of(details, self._keyring.region)
        if name is not None:
            check_name(details, name)
        return replace(
            namespace,
            name=details.name,
            search_attributes=details.search_attributes,
            aliases=details.aliases,
            region=details.region,
        )


def _bare(row: Row) -> Namespace:
    """Return what can be told of a namespace without its keys."""
    namespace_id = UUID(bytes=row["namespace_id"].bytes)
    due_at = row.get("shred_due_at")  # in lists only
    return Namespace(namespace_id, None, row["version"], row["created_at"], row["shredded_at"], shred_due_at=due_at)


def check_namespace_region(region: str | None, cell: str | None) -> None:
    """Refuse to create a namespace in another region than the cell's; None is for whatever that is.

    Raises:
        WrongRegion: says which cell to use.
        InvalidRequest: not the name of a region.
    """
    if region is None or check_region(region) == cell:
        return
    if cell is None:
        msg = f"this cell is bound to no region; make one for {region} with `strongroom init --region {region}`, and use that"
    else:
        msg = f"this cell is bound to region {cell}; use the configuration of the cell of {region}, or make one with `strongroom init`"
    raise WrongRegion(msg)
