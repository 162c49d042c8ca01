"""The doctor's checks of the search index."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.driver.index_status import REPAIR, read_index_status
from strongroom.kms import StrongroomError
from strongroom.storage.visibility_rows.builds import IndexBuilds
from strongroom.storage.visibility_rows.marks import IndexMarks
from strongroom.visibility import SearchIndexUnavailable

from .report import Finding, wrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.driver.index_status import IndexStatus
    from strongroom.driver.strongroom import Strongroom

SEARCH = "Search"
MANY_WAITING = 10_000
"""Number of runs that are not yet in the search index. More than this is a note."""


async def search_index(strongroom: Strongroom) -> AsyncIterator[Finding]:
    """Check the search index: that it exists, how far it is behind, and which documents it refuses."""
    index = strongroom.search_index
    if index is None:
        yield Finding(SEARCH, "search index", "PostgreSQL answers searches")
        return
    try:
        database = strongroom.database
        status = await read_index_status(index, strongroom.outbox, IndexMarks(database), IndexBuilds(database))
    except SearchIndexUnavailable as error:
        advice = (
            "Check that the cluster is up, and that elasticsearch.url is right. Writes continue, and are indexed later."
        )
        yield wrong(SEARCH, "search index", error, advice)
    except StrongroomError as error:
        yield wrong(SEARCH, "search index", error)
    else:
        for finding in _findings(status):
            yield finding


def _findings(status: IndexStatus) -> list[Finding]:
    text = f"{status.alias}: {status.documents} documents, {status.waiting} runs not yet indexed"
    many = status.waiting - status.refused > MANY_WAITING
    advice = "Check that a service runs an indexer, or run: strongroom index run" if many else ""
    found = [Finding(SEARCH, "search index", text, "note" if many else "ok", advice)]
    if status.health is not None and status.health.status != "green":
        text = f"{status.health.status}: {status.health.unassigned} shards or replicas are on no node"
        advice = "Bring back the missing nodes, or set fewer replicas: strongroom index build --replicas N"
        found.append(
            Finding(
                SEARCH, "search index shards", text, "note" if status.health.status == "yellow" else "wrong", advice
            )
        )
    if status.restored is not None:
        found.append(Finding(SEARCH, "restored copy", status.restored, "wrong", REPAIR))
    if status.refused:
        text = f"{status.refused} refused by the search index, so searches miss these runs; {status.refused_lines()[0]}"
        advice = (
            "Correct what the reason names, for example http.max_content_length. All of them: strongroom index status"
        )
        found.append(Finding(SEARCH, "refused documents", text, "wrong", advice))
    return found
