"""Print searches and histories: as tables for people, and as JSON Lines for programs."""

from __future__ import annotations

import base64
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from strongroom.driver.importing.history_event import decode_batch, payloads
from strongroom.storage import Encoding, NotFound
from strongroom.visibility import attribute_types, filter_types

from .branches import branch_of
from .output import busy, json_line, json_wanted, line, moment, result, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import HistoryNode, Namespace
    from strongroom.visibility import ExecutionsPage, VisibilityRecord

_PAGE = 1000


async def executions(strongroom: Strongroom, name: str, query: str, *, limit: int, page_token: bytes | None) -> None:
    """Print a page of runs."""
    namespace = await strongroom.namespaces.get(name)
    page = await _list(strongroom, namespace, query, limit, page_token)
    if page.next_page_token and not page.executions:
        with busy("sorting runs ...") as update:
            requests = 1
            while page.next_page_token and not page.executions:
                page = await _list(strongroom, namespace, query, limit, page.next_page_token)
                requests += 1
                update(f"sorting runs ... ({requests} requests)")
    token = page.next_page_token.decode() if page.next_page_token else None
    if json_wanted():
        for record in page.executions:
            json_line({**record._asdict(), "search_attributes": dict(record.search_attributes)})
        if token:
            json_line({"next_page_token": token})
        return
    rows = (
        (
            record.workflow_id,
            record.run_id,
            record.workflow_type,
            record.execution_status,
            moment(record.start_time),
            moment(record.close_time),
        )
        for record in page.executions
    )
    table("workflow id", "run id", "type", "status", "started (UTC)", "closed (UTC)", rows=rows)
    if token:
        line(f"there are more; continue with: --page-token {token}")


async def _list(
    strongroom: Strongroom, namespace: Namespace, query: str, limit: int, page_token: bytes | None
) -> ExecutionsPage:
    return await strongroom.visibility.list_workflow_executions(
        namespace.namespace_id, query, filter_types(namespace, query), page_size=limit, page_token=page_token
    )


async def count(strongroom: Strongroom, name: str, query: str) -> None:
    """Print a count."""
    namespace = await strongroom.namespaces.get(name)
    found = await strongroom.visibility.count_workflow_executions(
        namespace.namespace_id, query, filter_types(namespace, query)
    )
    if json_wanted():
        result({"count": found.count, "groups": dict(found.groups)})
        return
    line(str(found.count))
    if found.groups:
        table("group", "count", rows=found.groups)


async def explanation(strongroom: Strongroom, name: str, query: str) -> None:
    """Print how a filter is answered."""
    namespace = await strongroom.namespaces.get(name)
    found = await strongroom.visibility.explain(namespace.namespace_id, query, filter_types(namespace, query))
    conditions = [
        {
            "attribute": each.attribute,
            "operator": each.operator,
            "tokens": each.tokens,
            "decided_by": "index" if each.exact else "index, then the opened record",
            "profile": each.profile,
            "leakage": each.leakage,
            "reveals": each.reveals,
        }
        for each in found.conditions
    ]
    if json_wanted():
        numbers = {
            "sure": found.sure,
            "possible": found.possible,
            "opened": found.opened,
            "estimated_seconds": round(found.cost.seconds, 3),
            "estimated_bytes": found.cost.bytes,
        }
        result({"conditions": conditions, **numbers, "epochs": found.epochs, "sorted_here": found.sorted_here > 0})
        return
    table(
        "attribute",
        "operator",
        "tokens sent",
        "decided by",
        "profile",
        "the index shows",
        "the query reveals",
        rows=(each.values() for each in conditions),
    )
    line(f"{found.sure} documents match for certain, {found.possible} may")
    if found.epochs > 1:
        line(f"the index key is being rotated, so this is sent for {found.epochs} keys")
    limits = f"at most {found.limits.seconds:g} s and {found.limits.bytes >> 20} MiB"
    estimate = f", about {found.cost.seconds:.2g} s and {found.cost.bytes / 2**20:.2g} MiB ({limits})"
    if found.sorted_here:
        line(
            f"ORDER BY: the first page opens {found.sorted_here} of them{estimate}. The next one lists about 60 runs and opens no "
            f"others; a request that takes {found.limits.sorting:g} s returns a token to continue"
        )
    else:
        line(f"a count opens {found.opened} of them{estimate}; a list opens what its page needs")


async def history(strongroom: Strongroom, name: str, workflow_id: str, run_id: str | None) -> None:
    """Print the events of a run.

    Args:
        strongroom: The cell.
        name: The name of the namespace.
        workflow_id: The workflow id.
        run_id: The run id; None for the latest run.

    Raises:
        NotFound: The run does not exist, or its history is not stored.
    """
    namespace = await strongroom.namespaces.get(name)
    record = await _find_run(strongroom, namespace, workflow_id, run_id)
    rows = []
    async for node in _nodes(strongroom, namespace.namespace_id, record):
        for event in _events_of(node):
            if json_wanted():
                encoded = base64.b64encode(event.data).decode()
                json_line({"event_id": event.event_id, "time": event.time, "type": event.type, "event": encoded})
            else:
                shown = " ".join(payload.decode(errors="replace") for payload in event.payloads)
                rows.append((event.event_id, moment(event.time), event.type, shown))
    if not json_wanted():
        title = f"{record.workflow_id} / {record.run_id} ({record.workflow_type}, {record.execution_status})"
        table("event", "time (UTC)", "type", "payloads", rows=rows, title=title)


class _Event(NamedTuple):
    """An event as it is shown. One that is not Temporal's has no time and no type, and its bytes are its only payload."""

    event_id: int
    time: int | None
    type: str | None
    data: bytes
    payloads: list[bytes]


def _events_of(node: HistoryNode) -> list[_Event]:
    """Return the events of a node. A service may store events of its own: they are one event with the node's id."""
    data, encoding = node.events
    if encoding is not Encoding.JSON:
        with suppress(ValueError):
            events = decode_batch(data)
            if events:
                return [_Event(one.event_id, one.time, one.type, one.data, list(payloads(one.data))) for one in events]
    return [_Event(node.node_id, None, None, data, [data])]


async def _find_run(
    strongroom: Strongroom, namespace: Namespace, workflow_id: str, run_id: str | None
) -> VisibilityRecord:
    query = f"WorkflowId = {_quoted(workflow_id)}" + (f" AND RunId = {_quoted(run_id)}" if run_id else "")
    page = await strongroom.visibility.list_workflow_executions(
        namespace.namespace_id, query, attribute_types(namespace), page_size=1
    )
    if not page.executions:
        raise NotFound("this namespace has no such workflow execution")
    return page.executions[0]


async def _nodes(strongroom: Strongroom, namespace_id: UUID, record: VisibilityRecord) -> AsyncIterator[HistoryNode]:
    branch = await branch_of(strongroom, namespace_id, record)
    token = None
    while True:
        page = await strongroom.history.read_history_branch(namespace_id, branch, page_size=_PAGE, page_token=token)
        for node in page.nodes:
            yield node
        token = page.next_page_token
        if token is None:
            return


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
