"""Check that all addresses lead to the same index. Otherwise a document would be written to one cluster and searched in another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from strongroom.kms import Unavailable
from strongroom.storage import ResourceExhausted
from strongroom.visibility.errors import SearchIndexMismatch

from .answers import by_index

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .client import ElasticsearchClient

_ATTEMPTS = 2
"""Number of times that the addresses are asked, because the alias can move while they are."""


async def check_addresses(client: ElasticsearchClient) -> None:
    """Ask each address for the index behind the alias. One that does not answer is left out.

    Raises:
        SearchIndexMismatch: Two addresses have different indices, or one has none.
    """
    if len(client.urls) == 1:
        return
    clients = client.each_address()
    try:
        for attempt in range(_ATTEMPTS):
            found = await asyncio.gather(*map(_uuid, clients))
            known = {number: uuid for number, uuid in enumerate(found, start=1) if uuid is not None}
            first, *others = known or {1: ""}
            different = [number for number in others if known[number] != known[first]]
            if not different:
                return
            if attempt == _ATTEMPTS - 1:
                msg = (
                    f"address {different[0]} of elasticsearch.url leads to another index than address {first}, so they are of "
                    "different clusters; name addresses of one cluster only"
                )
                raise SearchIndexMismatch(msg)
    finally:
        for each in clients:
            await each.aclose()


async def _uuid(client: ElasticsearchClient) -> str | None:
    """Return the id that a cluster gave the index; an empty text if it has none, and None if it does not answer."""
    try:
        return await client.send(
            lambda api: api.indices.get_settings(index=client.name, name="index.uuid", flat_settings=True),
            _read,
            deadline=0.0,
        )
    except SearchIndexMismatch:
        return ""
    except (Unavailable, ResourceExhausted):
        return None


def _read(body: Mapping[str, object]) -> str:
    """Return the id of the only index, or of all of them."""
    return " ".join(sorted(str(settings.get("index.uuid")) for settings in by_index(body, "settings").values()))
