"""Rotate the index key of a namespace, or change its preset, while services read and write (DESIGN.md, "Rotation and presets").

    check      Open every record, and refuse to begin if an attribute has no known type.
    begin      Register the next epoch as pending. From now on searches ask for its tokens too.
    wait       Wait until every process has read the registry again.
    activate   Writers use the new epoch. Until every process has read the registry, some still use the old one.
    rewrite    Open every record of an older epoch, and write it with new tokens. The search index gets it from the outbox.
    destroy    When no record and no document of an older epoch is left, destroy its root key.

Each step can be interrupted and run again. The registry stores how far a rotation has come, and the epochs of the records show what
is left to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms import (
    IntegrityError,
    KeyState,
    activate_index_key,
    begin_index_rotation,
    commits_several_times,
    destroy_index_key,
    index_keys,
)
from strongroom.storage import ConditionFailed
from strongroom.visibility.errors import SearchIndexMismatch
from strongroom.visibility.index.layout import active_layout, newest_layout, parse_layout

from .token_verifier import PIECE, open_each, rewrite_tokens, types_of

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import DataKeyRecord, Keyring
    from strongroom.storage import RegistryWait, VisibilityEpochs
    from strongroom.visibility.backends.search_index import SearchIndex
    from strongroom.visibility.filter.tree import SearchAttributes
    from strongroom.visibility.index.layout import Layout

    from .indexer import Indexer

_ATTEMPTS = 10
_NO_EPOCH = 0
"""Less than every epoch, so all records are of others."""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with "check" and the records checked, "wait" and the seconds left, "rewrite" and the records rewritten, or "index" and the
documents left."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """The result of a rotation.

    Attributes:
        epoch: The epoch of all documents now.
        layout: The layout of that epoch.
        resumed: Whether an earlier run had begun the rotation.
        rewritten: The number of records that this run rewrote.
        destroyed: The epochs whose root keys this run destroyed.
    """

    epoch: int
    layout: Layout
    resumed: bool
    rewritten: int
    destroyed: tuple[int, ...]


class IndexRotation:
    """Rotates the index key of one namespace per call.

    Args:
        records: The records of all namespaces.
        keyring: The keys of the namespaces.
        index: The search index.
        indexer: The indexer of the search index; None if its documents are not copies.
        wait: The wait until every process has read a change of the key registry.
        pause: Time between two checks of the search index, in seconds.
    """

    def __init__(
        self,
        records: VisibilityEpochs,
        keyring: Keyring,
        *,
        index: SearchIndex,
        indexer: Indexer | None,
        wait: RegistryWait,
        pause: float = 0.5,
    ) -> None:
        self._records = records
        self._keyring = keyring
        self._index = index
        self._indexer = indexer
        self._wait = wait
        self._pause = pause

    @commits_several_times
    async def rotate(
        self,
        namespace_id: UUID,
        types: SearchAttributes,
        *,
        layout: Layout | None = None,
        progress: Progress | None = None,
    ) -> Rotation:
        """Move all documents of a namespace to a new epoch. An interrupted rotation is finished instead of a new one.

        Args:
            namespace_id: The namespace.
            types: The namespace's custom search attributes.
            layout: The layout of the new epoch; None for that of the active epoch in the newest version. An interrupted rotation
                keeps its own layout.
            progress: Called while the rotation goes on.

        Raises:
            ConditionFailed: A rotation to another preset is in progress, or another process rotates at the same time.
            IntegrityError: Some records can't be opened. All others are done, and the old epoch is kept.
            SearchIndexMismatch: The search index has documents of an old epoch that have no record.
            InvalidRecord: An attribute of a record has no known type. The rotation did not begin, or can be continued.
            KmsError, StorageError: Run it again.
        """
        report = progress or (lambda _step, _count: None)
        epochs = [
            epoch for epoch in await index_keys(self._keyring, namespace_id) if epoch.state is not KeyState.DESTROYED
        ]
        resumed = len(epochs) > 1
        if not resumed or epochs[-1].state is KeyState.PENDING:
            await self._check_types(namespace_id, types, report)
        target = epochs[-1] if resumed else await self._begin(namespace_id, layout)
        if layout is not None and not _resumes(layout, parse_layout(target.layout)):
            msg = "a rotation to another preset is in progress; finish it first: strongroom index rotate NAMESPACE"
            raise ConditionFailed(msg)
        if target.state is KeyState.PENDING:
            # An interrupted rotation waits the whole time again, because no clock proves when it began.
            await self._wait.wait_until(self._wait.deadline(), report)
            await activate_index_key(self._keyring, namespace_id, target.version)
        deadline = self._wait.deadline()
        rewritten = await self._rewrite(namespace_id, target.version, types, report)
        await self._wait.wait_until(deadline, report)
        rewritten += await self._finish(namespace_id, target.version, types, report)
        old = [
            epoch.version
            for epoch in await index_keys(self._keyring, namespace_id)
            if epoch.state is KeyState.DECRYPT_ONLY
        ]
        for version in old:
            await destroy_index_key(self._keyring, namespace_id, version)
        # Again, because a request that exceeded the margin may have written records of an older epoch.
        rewritten += await self._finish(namespace_id, target.version, types, report)
        return Rotation(target.version, parse_layout(target.layout), resumed, rewritten, tuple(old))

    async def _check_types(self, namespace_id: UUID, types: SearchAttributes, report: Progress) -> None:
        """Refuse a rotation that can't make the tokens of all records. Two keys would stay in use.

        Raises:
            InvalidRecord: An attribute of a record has no known type.
        """
        checked = 0
        async for rows in self._records.others(namespace_id, _NO_EPOCH, piece=PIECE):
            types_of(await open_each(self._keyring, namespace_id, rows), types)
            checked += len(rows)
            report("check", checked)

    async def _begin(self, namespace_id: UUID, layout: Layout | None) -> DataKeyRecord:
        if layout is None:
            keys = await self._keyring.open(namespace_id)
            layout = newest_layout(active_layout(keys))
        return await begin_index_rotation(self._keyring, namespace_id, layout=str(layout))

    async def _finish(self, namespace_id: UUID, epoch: int, types: SearchAttributes, report: Progress) -> int:
        """Rewrite records that were written in an older epoch during the rotation, until no record or document of it is left."""
        rewritten = 0
        while any(record_epoch != epoch for record_epoch in await self._records.count(namespace_id)):
            rewritten += await self._rewrite(namespace_id, epoch, types, report)
        await self._reindex(namespace_id, epoch, report)
        return rewritten

    async def _rewrite(self, namespace_id: UUID, epoch: int, types: SearchAttributes, report: Progress) -> int:
        """Rewrite the records of older epochs once; return how many were rewritten.

        Raises:
            IntegrityError: Some records can't be opened.
        """
        rewritten = damaged = 0
        async for rows in self._records.others(namespace_id, epoch, piece=PIECE):
            opened = await open_each(self._keyring, namespace_id, rows)
            damaged += len(rows) - len(opened)
            keys = await self._keyring.open(namespace_id)
            rewritten += await rewrite_tokens(self._records, keys, opened, types)
            report("rewrite", rewritten)
        if damaged:
            raise IntegrityError(
                f"{damaged} records do not open, so the old epoch is kept; all others have new tokens. 'strongroom index reconcile "
                "--check' names the first ones. Restore them from a backup, and rotate again to continue"
            )
        return rewritten

    async def _reindex(self, namespace_id: UUID, epoch: int, report: Progress) -> None:
        """Wait until the search index has no document of an older epoch.

        Raises:
            SearchIndexMismatch: It keeps some although all changes were written to it.
        """
        if self._indexer is None:
            return
        fewest, attempts = None, _ATTEMPTS
        while attempts:
            await self._indexer.sweep()
            documents = await self._index.epochs(namespace_id)
            left = sum(count for document_epoch, count in documents.items() if document_epoch != epoch)
            if not left:
                return
            report("index", left)
            attempts = attempts - 1 if fewest is not None and left >= fewest else _ATTEMPTS
            fewest = left if fewest is None else min(left, fewest)
            await asyncio.sleep(self._pause)
        msg = f"the search index keeps {fewest} documents of an old epoch; repair it, then continue: strongroom index reconcile"
        raise SearchIndexMismatch(msg)


def _resumes(wanted: Layout, begun: Layout) -> bool:
    """Return whether a rotation to a layout may finish one that has begun. Other salts, or an older version, do not matter."""
    return replace(wanted, salts=begun.salts, version=begun.version) == begun
