"""Namespaces, the unit of isolation. Each namespace has its own keys, and its name is never stored in clear."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from strongroom.kms import (
    KekRef,
    KeyConflict,
    KeyDestroyed,
    KeyDisabled,
    Suite,
    commits_several_times,
    create_data_keys,
    destroy_data_keys,
)
from strongroom.storage.checks import check_text, check_texts
from strongroom.storage.data_blob import DataBlob
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.errors import (
    ConditionFailed,
    InvalidPersistenceRequest,
    NamespaceAlreadyExists,
    NamespaceNotFound,
)
from strongroom.storage.sealing import UNAVAILABLE, UNREADABLE

from .journal import replaced_namespace
from .kek_rule import KekRule, no_rule, wanted_kek
from .namespace import Namespace, check_namespace_region, unopened
from .rows import NamespaceDetails, NamespaceRows, check_name, check_region_of, is_gone, open_details

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from strongroom.kms import IdentityKeys, Keyring
    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

_SQL = load_queries("namespaces/store")
_CHANGE_ATTEMPTS = 10


class NamespaceStore:
    """Namespaces for an administrator: names, keys and search attributes. `MetadataStore` has the operations of the service.

    A namespace is looked up by a token of its name, which is made with the cell's keys. Its details are sealed under its own keys.
    Every method raises `StorageError` if the database does not answer.

    Args:
        database: The database.
        keyring: The keys of the namespaces and of the cell.
        journal: The journal of this process.
        index_layout: The layout of a new namespace's visibility documents, as the text of a `strongroom.visibility.Layout`.
        kek_rule: Returns the KEK of a namespace for which none is named.
    """

    def __init__(
        self, database: Database, keyring: Keyring, journal: Journal, *, index_layout: str, kek_rule: KekRule = no_rule
    ) -> None:
        self._kek_rule = kek_rule
        self._database, self._keyring, self._journal = database, keyring, journal
        self._index_layout = index_layout
        self._rows = NamespaceRows(database, keyring, journal)

    @commits_several_times
    async def ensure_cell_keys(self, kek: KekRef) -> None:
        """Create the cell's own keys if there are none. Concurrent callers create them once.

        Args:
            kek: The KEK that wraps the keys.

        Raises:
            KmsError: The KEK can't be used.
        """
        cell_id = self._keyring.cell_id
        if await self._keyring.store.list_unverified(cell_id):  # their key is needed to verify them
            return
        with suppress(KeyConflict):  # another `init` created them first
            await create_data_keys(self._keyring, cell_id, kek)

    @commits_several_times
    async def create(
        self,
        name: str,
        *,
        kek: KekRef | None = None,
        search_attributes: Mapping[str, str] | None = None,
        suite: Suite = Suite.XAES_256_GCM,
        index_layout: str | None = None,
        mark_layout: Callable[[str, IdentityKeys], str] | None = None,
        region: str | None = None,
    ) -> Namespace:
        """Create a namespace with its own keys, and return it.

        Args:
            name: The name, 1 to 255 bytes of UTF-8.
            kek: The KEK that wraps the namespace's keys, of a configured provider; None for the rule `[namespaces] kek`.
            search_attributes: The custom search attributes, name to type.
            suite: The cipher suite of the namespace's rows.
            index_layout: The layout of the namespace's visibility documents; None for the layout of this store.
            mark_layout: Function that adds to the layout what is made with the namespace's identity keys; None to add nothing.
            region: The region of the namespace, which must be the cell's region; None also means the cell's region.

        Raises:
            NamespaceAlreadyExists: The name is taken.
            KekNotConfigured: No KEK is named, and the configuration has no rule.
            InvalidPersistenceRequest: The name is empty or too long, or a name, type or layout is not text that can be stored.
            WrongRegion: The region, or the KEK's region, is not the cell's.
            KmsError: The KEK can't be used.
        """
        check_namespace_region(region, self._keyring.region)
        check_texts("search_attributes", {} if search_attributes is None else search_attributes)
        layout = self._index_layout if index_layout is None else index_layout
        check_text("index_layout", layout)
        if await self._rows.by_token(await self._rows.name_token(name)) is not None:
            raise NamespaceAlreadyExists
        attributes = MappingProxyType(dict(search_attributes or {}))
        namespace = Namespace(
            uuid4(), name, 1, datetime.now(UTC), search_attributes=attributes, region=self._keyring.region
        )
        # The keys are created first, so that a crash leaves unused keys, but never a namespace without keys.
        own = namespace.namespace_id
        kek = await wanted_kek(kek, self._kek_rule, own)
        await create_data_keys(self._keyring, own, kek, suite=suite, index_layout=layout, mark_layout=mark_layout)
        details = NamespaceDetails(name, attributes, region=namespace.region)
        try:
            await self._rows.insert(own, details, created_at=namespace.created_at, data=DataBlob(b""), is_global=False)
        except NamespaceAlreadyExists:
            await destroy_data_keys(self._keyring, own)
            raise
        return namespace

    async def get(self, name: str) -> Namespace:
        """Return a namespace by its name. It must not be shredded.

        Args:
            name: The name, 1 to 255 bytes of UTF-8.

        Raises:
            NamespaceNotFound: No namespace has this name, or it was shredded.
            InvalidPersistenceRequest: The name is empty or too long.
            KmsError: Its keys are not available.
            IntegrityError: The row was changed outside of the stores.
            DataLoss: An older row was put back.
        """
        before = self._rows.moment
        return await self._open(await self._rows.by_name(name), name, before=before)

    async def find(self, name: str, *, unavailable: bool = False) -> UUID:
        """Return the id of a namespace by its name, even if it is scheduled for shredding or its shredding was interrupted.

        Args:
            name: The name, 1 to 255 bytes of UTF-8.
            unavailable: Whether a namespace whose keys are not available is found too. Its name is then not verified.

        Raises:
            NamespaceNotFound: No namespace has this name, or its shredding is completed.
            InvalidPersistenceRequest: The name is empty or too long.
            KmsError: Its keys are not available, and a shredding is not the reason.
            IntegrityError: The row was changed outside of the stores.
        """
        before = self._rows.moment
        row = await self._rows.by_name(name)
        with suppress(*(UNAVAILABLE if unavailable else (KeyDestroyed, KeyDisabled))):
            await self._open(row, name, before=before)
        return unopened(row).namespace_id

    async def list_namespaces(self) -> Sequence[Namespace]:
        """Return all namespaces, including shredded ones. A namespace without available keys is listed with the reason.

        Raises:
            DatabaseUnavailable: The database can't be reached, or did not answer in time.
        """
        before = self._rows.moment
        async with self._database.connection(EVERY_NAMESPACE) as connection:
            rows = await connection.fetch(_SQL["list"])
        return await asyncio.gather(*(self._listed(row, before) for row in rows))  # their keys are read together

    @commits_several_times
    async def add_search_attributes(self, namespace_id: UUID, added: Mapping[str, str]) -> Namespace:
        """Register more custom search attributes, and return the namespace. A name that already has the same type is not changed.

        Args:
            namespace_id: The namespace.
            added: The search attributes, name to type.

        Raises:
            NamespaceNotFound: The namespace does not exist, or was shredded.
            InvalidPersistenceRequest: A name is already registered with another type, is an alias, or is not text.
            ConditionFailed: Other callers changed the namespace in each of ten attempts. Try again.
            KmsError: Its keys are not available.
        """
        check_texts("added", added)

        def add(namespace: Namespace) -> Namespace:
            registered = namespace.search_attributes
            if any(registered.get(name, kind) != kind for name, kind in added.items()):
                msg = "a search attribute is already registered with another type, and a type can't be changed; use another name"
                raise InvalidPersistenceRequest(msg)
            if not namespace.aliases.keys().isdisjoint(added):
                msg = "a search attribute has the name of an alias; remove the alias first"
                raise InvalidPersistenceRequest(msg)
            return replace(namespace, search_attributes=MappingProxyType({**registered, **added}))

        return await self._change(namespace_id, add)

    @commits_several_times
    async def set_aliases(self, namespace_id: UUID, aliases: Mapping[str, str | None]) -> Namespace:
        """Set aliases of search attributes, which filters may use. Records keep the registered names.

        Args:
            namespace_id: The namespace.
            aliases: Each alias with the registered name; None removes the alias.

        Returns:
            The changed namespace.

        Raises:
            NamespaceNotFound: The namespace does not exist, or was shredded.
            InvalidPersistenceRequest: An alias is a registered name, names an attribute that is not registered, or is not text.
            ConditionFailed: Other callers changed the namespace in each of ten attempts. Try again.
            KmsError: Its keys are not available.
        """
        check_texts("aliases", aliases, optional=True)

        def merge(namespace: Namespace) -> Namespace:
            registered = namespace.search_attributes
            merged = {**namespace.aliases, **aliases}
            kept = {alias: target for alias, target in merged.items() if target is not None}
            if not registered.keys().isdisjoint(kept):
                msg = "an alias has the name of a registered search attribute; choose another alias"
                raise InvalidPersistenceRequest(msg)
            if not registered.keys() >= set(kept.values()):
                msg = "an alias names a search attribute that is not registered; register the attribute first"
                raise InvalidPersistenceRequest(msg)
            return replace(namespace, aliases=MappingProxyType(kept))

        return await self._change(namespace_id, merge)

    async def _change(self, namespace_id: UUID, edit: Callable[[Namespace], Namespace]) -> Namespace:
        """Change the sealed details of a namespace. If another caller changes them at the same time, read and edit again."""
        for _ in range(_CHANGE_ATTEMPTS):
            before = self._rows.moment
            row = await self._rows.by_id(namespace_id)
            if row is None or is_gone(row):
                raise NamespaceNotFound
            namespace = await self._open(row, before=before)
            changed = edit(namespace)
            if changed == namespace:
                return namespace
            changed = replace(changed, version=namespace.version + 1)
            assert changed.name is not None  # noqa: S101 - it was opened
            keys = await self._keyring.open(namespace_id)
            details = NamespaceDetails(changed.name, changed.search_attributes, changed.aliases, changed.region)
            sealed = details.seal(keys, changed.version)
            async with self._database.transaction(namespace_id) as connection:
                before = self._rows.moment
                stored = await connection.fetchrow(_SQL["lock"], namespace_id, namespace.version)
                if stored is not None:
                    await self._rows.check_locked(stored, before, connection)
                    self._rows.written(connection, namespace_id, changed.version, 0)
                    await connection.execute(_SQL["update"], namespace_id, namespace.version, sealed)
                    old, data = (stored["details"], stored["data"]), stored["data"]
                    await self._journal.write(connection, replaced_namespace(namespace_id, old, (sealed, data)))
                    return changed
        raise ConditionFailed

    async def _listed(self, row: Row, before: int) -> Namespace:
        try:
            return await self._open(row, before=before)
        except UNREADABLE as error:
            return replace(unopened(row), unreadable=str(error), error=type(error).__name__)

    async def _open(self, row: Row, name: str | None = None, *, before: int) -> Namespace:
        namespace = unopened(row)
        if namespace.shredded_at is not None:
            return namespace
        details = await self._keyring.with_keys(namespace.namespace_id, lambda keys: open_details(keys, row))
        check_region_of(details, self._keyring.region)
        if name is not None:
            check_name(details.name, name)
        await self._rows.check_details(row, before)
        return replace(
            namespace,
            name=details.name,
            search_attributes=details.search_attributes,
            aliases=details.aliases,
            region=details.region,
        )
