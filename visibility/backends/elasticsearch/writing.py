"""Write documents and deletions to one index, or to two while a new one is built."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from strongroom.visibility.backends.search_index import Refusal

from .answers import found_documents
from .bulk import BulkAction, require_all
from .delivery import deliver
from .documents import (
    NO_EPOCH,
    WRITER_TEXT,
    deletion_mark,
    document_name,
    mark_version,
    record_id,
    to_document,
    writer_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.storage import Row, RunKey

    from .client import ElasticsearchClient

_NOT_ENCODABLE = (struct.error, TypeError, ValueError, OverflowError)


async def write_documents(
    clients: Sequence[ElasticsearchClient],
    rows: Sequence[tuple[UUID, Row]],
    deleted: Sequence[tuple[RunKey, int | None]],
    mark: tuple[UUID, int] | None,
    *,
    only_newer: bool = False,
) -> dict[bytes, Refusal]:
    """Write the same to each index. See `SearchIndex.write`.

    Args:
        clients: The client of each index.
        rows: As in `SearchIndex.write`.
        deleted: As in `SearchIndex.write`.
        mark: As in `SearchIndex.write`.
        only_newer: Whether documents of the same version are kept.

    Raises:
        StrongroomError: One of the indices did not take the write. It is unknown what was written.
    """
    refused: dict[bytes, Refusal] = {}
    actions: dict[bytes, BulkAction] = {}
    for namespace_id, row in rows:
        try:
            document = to_document(namespace_id, row)
        except _NOT_ENCODABLE as error:
            refused[row["id"]] = Refusal(f"its row can't be encoded ({type(error).__name__})", passing=False)
        else:
            actions[row["id"]] = BulkAction(
                "index", document_name(row["id"]), row["version"], document, only_newer=only_newer
            )
    for key, version in deleted:
        if version is not None:
            deletion = deletion_mark(key, version)
            actions[key[2]] = BulkAction(
                "index", document_name(key[2]), mark_version(version), deletion, only_newer=only_newer
            )
    unversioned = [key[2] for key, version in deleted if version is None]
    sent = (_deliver(client, actions, unversioned, mark) for client in clients)
    for each in await asyncio.gather(*sent, return_exceptions=True):
        if isinstance(each, BaseException):
            raise each
        refused |= each
    return refused


def writer_mark(writer: UUID, number: int) -> BulkAction:
    """Return the action that writes the mark of a writer."""
    return BulkAction("index", writer_name(writer), number, {"n": WRITER_TEXT, "k": NO_EPOCH})


async def _deliver(
    client: ElasticsearchClient,
    actions: Mapping[bytes, BulkAction],
    unversioned: Sequence[bytes],
    mark: tuple[UUID, int] | None,
) -> dict[bytes, Refusal]:
    """Execute the actions of a write in one index; return the refused ones.

    Args:
        client: The client of the index.
        actions: The actions, by record id.
        unversioned: The ids of records whose document is deleted at its present version.
        mark: The mark of the write; None for none.
    """
    actions = {**actions, **await _deletions(client, unversioned)}
    marked = None if mark is None else writer_mark(*mark)
    results = await deliver(client, list(actions.values()), mark=marked)
    if marked is not None:
        require_all([results.pop(0)])
    pairs = zip(actions, results, strict=True)
    return {identifier: result for identifier, result in pairs if result is not None}


async def _deletions(client: ElasticsearchClient, identifiers: Sequence[bytes]) -> dict[bytes, BulkAction]:
    """Return deletions of documents at their present versions, so that a late deletion does not remove a newer document."""
    if not identifiers:
        return {}
    names = [document_name(identifier) for identifier in identifiers]
    versions = await client.send(
        lambda api: api.mget(index=client.name, ids=names, source=False), lambda body: found_documents(body, names)
    )
    return {record_id(name): BulkAction("delete", name, version) for name, version in versions.items()}
