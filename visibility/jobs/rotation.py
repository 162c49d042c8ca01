"""Rotate the index key of a namespace, or change its preset, while services read and write (DESIGN.md, "Rotation and presets").

    begin      the next epoch is registered, pending: searches ask for its tokens too
    wait       until every process has taken that up
    activate   writers use it; until every process has taken that up, some still use the old one
    rewrite    every record of an older epoch is opened, and written with new tokens; the search index hears of it
    destroy    when no record and no document of an older epoch is left: its root is forgotten

Each step can be broken off and run again: where a rotation stands is in the registry, and what is left to do in the records' epochs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from strongroom.kms import (
    IntegrityError,
    KeyClass,
    KeyState,
    activate_index_key,
    begin_index_rotation,
    destroy_index_key,
    index_keys,
)
from strongroom.storage import ConditionFailed
from strongroom.visibility.errors import SearchIndexMismatch
from strongroom.visibility.index.layout import parse_layout

from .token_audit import PIECE, open_each, rewrite_tokens

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping
    from uuid import UUID

    from strongroom.kms import DataKeyRecord, Keyring
    from strongroom.storage import RegistryWait, VisibilityEpochs
    from strongroom.visibility.filter.tree import SearchAttributes
    from strongroom.visibility.index.layout import Layout

_PAUSE = 0.5
_ATTEMPTS = 10

Progress: TypeAlias = Callable[[str, int], None]
"""Called with a step, "wait", "rewrite" or "index", and seconds left, records rewritten or documents left."""


class RotatedIndex(Protocol):
    """A search index outside the database."""

    async def epochs(self, namespace_id: UUID) -> Mapping[int, int]:
        """Return how many documents each epoch has."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did.

    Attributes:
        epoch: that all documents are in now.
        layout: of it.
        resumed: whether it had been begun before.
        rewritten: records that this run wrote anew.
        destroyed: epochs whose roots were forgotten.
    """

    epoch: int
    layout: Layout
    resumed: bool
    rewritten: int
    destroyed: tuple[int, ...]


class IndexRotation:
    """Rotates, one namespace a call.

    Args:
        records: of all namespaces.
        keyring: for their keys.
        index: of the search, where it is not the database.
        tell: writes to that index what waits for it.
        wait: The wait until every process has read a change of the key registry.
    """

    def __init__(
        self,
        records: VisibilityEpochs,
        keyring: Keyring,
        *,
        index: RotatedIndex | None,
        tell: Callable[[], Awaitable[object]] | None,
        wait: RegistryWait,
    ) -> None:
        self._records = records
        self._keyring = keyring
        self._index = index
        self._tell = tell
        self._wait = wait

    async def rotate(
        self,
        namespace_id: UUID,
        types: SearchAttributes,
        *,
        layout: Layout | None = None,
        progress: Progress | None = None,
    ) -> Rotation:
        """Bring all documents of a namespace to a new epoch; a rotation that broke off is finished first, and then returned.

        Args:
            namespace_id: whose.
            types: its custom search attributes.
            layout: of the new epoch; None for the active one's. A rotation under way keeps its own salts.
            progress: see there.

        Raises:
            ConditionFailed: a rotation to another preset is under way, or somebody rotates at the same time.
            IntegrityError: some records can't be opened; all others are done, and the old epoch is kept.
            SearchIndexMismatch: the search index has documents of an old epoch that no record accounts for.
            KmsError, StorageError: run it again.
        """
        show = progress or (lambda _step, _left: None)
        epochs = [
            epoch for epoch in await index_keys(self._keyring, namespace_id) if epoch.state is not KeyState.DESTROYED
        ]
        resumed = len(epochs) > 1
        target = epochs[-1] if resumed else await self._begin(namespace_id, layout)
        if layout is not None and layout.preset != parse_layout(target.layout).preset:
            msg = "a rotation to another preset is under way; finish it first: strongroom index rotate NAMESPACE"
            raise ConditionFailed(msg)
        if target.state is KeyState.PENDING:
            seconds = self._wait.left(target.created_at) if resumed else self._wait.seconds
            await self._wait.wait_for(seconds, show)
            await activate_index_key(self._keyring, namespace_id, target.version)
        deadline = self._wait.deadline()
        rewritten = await self._rewrite(namespace_id, target.version, types, show)
        await self._wait.wait_until(deadline, show)
        rewritten += await self._finish(namespace_id, target.version, types, show)
        old = [
            epoch.version
            for epoch in await index_keys(self._keyring, namespace_id)
            if epoch.state is KeyState.DECRYPT_ONLY
        ]
        for version in old:
            await destroy_index_key(self._keyring, namespace_id, version)
        rewritten += await self._finish(namespace_id, target.version, types, show)  # whoever took longer than he may
        return Rotation(target.version, parse_layout(target.layout), resumed, rewritten, tuple(old))

    async def _begin(self, namespace_id: UUID, layout: Layout | None) -> DataKeyRecord:
        if layout is None:
            keys = await self._keyring.open(namespace_id)
            layout = parse_layout(keys.layout(keys.active_version(KeyClass.INDEX)))
        return await begin_index_rotation(self._keyring, namespace_id, layout=str(layout))

    async def _finish(self, namespace_id: UUID, epoch: int, types: SearchAttributes, show: Progress) -> int:
        """Rewrite what writers wrote that had not heard of the epoch, until nothing is left, in the search index either."""
        rewritten = 0
        while any(k != epoch for k in await self._records.count(namespace_id)):
            rewritten += await self._rewrite(namespace_id, epoch, types, show)
        await self._reindex(namespace_id, epoch, show)
        return rewritten

    async def _rewrite(self, namespace_id: UUID, epoch: int, types: SearchAttributes, show: Progress) -> int:
        """Go once through the records of older epochs; return how many were rewritten.

        Raises:
            IntegrityError: some can't be opened.
        """
        done = damaged = 0
        async for rows in self._records.others(namespace_id, epoch, piece=PIECE):
            whole = await open_each(self._keyring, namespace_id, rows)
            damaged += len(rows) - len(whole)
            keys = await self._keyring.open(namespace_id)
            done += await rewrite_tokens(self._records, keys, whole, types)
            show("rewrite", done)
        if damaged:
            raise IntegrityError
        return done

    async def _reindex(self, namespace_id: UUID, epoch: int, show: Progress) -> None:
        """Wait until the search index has no document of an older epoch.

        Raises:
            SearchIndexMismatch: it keeps some, though it was told of all that changed.
        """
        if self._index is None or self._tell is None:
            return
        fewest, patience = None, _ATTEMPTS
        while patience:
            await self._tell()
            left = sum(count for k, count in (await self._index.epochs(namespace_id)).items() if k != epoch)
            if not left:
                return
            show("index", left)
            patience = patience - 1 if fewest is not None and left >= fewest else _ATTEMPTS
            fewest = left if fewest is None else min(left, fewest)
            await asyncio.sleep(_PAUSE)
        msg = f"the search index keeps {fewest} documents of an old epoch; repair it, then go on: strongroom index reconcile"
        raise SearchIndexMismatch(msg)
