"""Print namespaces, keys, searches and histories, as tables for people or as JSON Lines for programs."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from strongroom.driver.importing.history_event import decode_batch, payloads
from strongroom.kms import KeyClass
from strongroom.storage import NotFound
from strongroom.visibility import attribute_types, parse_layout

from .output import console, moment, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import CachePolicy, DataKeyRecord, KekUsage
    from strongroom.storage import BranchInfo, HistoryBranch, HistoryNode, Namespace
    from strongroom.visibility import Reconciliation, TokenTally, VisibilityRecord

_PAGE = 1000


def namespaces(found: Iterable[Namespace]) -> None:
    """Print namespaces."""
    rows = (
        (
            namespace.name or "",
            namespace.namespace_id,
            namespace.region or "",
            f"{namespace.created_at:%Y-%m-%d %H:%M}",
            _state(namespace),
            ", ".join(f"{name}={kind}" for name, kind in namespace.search_attributes.items()),
        )
        for namespace in found
    )
    table("name", "id", "region", "created (UTC)", "state", "search attributes", rows=rows)


def _state(namespace: Namespace) -> str:
    if namespace.shredded_at is not None:
        return f"shredded {namespace.shredded_at:%Y-%m-%d %H:%M}"
    if namespace.shred_due_at is not None:
        return f"to be shredded, due {namespace.shred_due_at:%Y-%m-%d %H:%M}"
    return namespace.unreadable or "ready"


def search_attributes(namespace: Namespace) -> None:
    """Print the custom search attributes of a namespace."""
    aliases: dict[str, list[str]] = {}
    for alias, name in namespace.aliases.items():
        aliases.setdefault(name, []).append(alias)
    rows = ((name, kind, ", ".join(aliases.get(name, ()))) for name, kind in namespace.search_attributes.items())
    table("search attribute", "type", "aliases", rows=rows)


def keys(records: Iterable[DataKeyRecord]) -> None:
    """Print the keys of a namespace."""
    rows = (
        (
            record.key_class.value,
            record.version,
            record.state.value,
            record.suite.name.replace("_", "-"),
            f"{record.provider}:{record.kek_id}",
            record.kek_version,
            f"{record.created_at:%Y-%m-%d %H:%M}",
            parse_layout(record.layout).preset if record.key_class is KeyClass.INDEX else "",
        )
        for record in records
    )
    table("class", "version", "state", "suite", "KEK", "KEK version", "created (UTC)", "preset", rows=rows)


def kek_usage(found: Iterable[KekUsage]) -> None:
    """Print the number of keys under each version of each KEK."""
    rows = ((f"{usage.provider}:{usage.kek_id}", usage.kek_version, usage.keys, usage.namespaces) for usage in found)
    table("KEK", "version", "keys", "of namespaces", rows=rows)


def revocation(policy: CachePolicy) -> None:
    """Print the times after which a revoked KEK stops all use."""
    console.print(
        f"A revoked KEK stops within {policy.soft_ttl:g} s where it is in use, and within {policy.encrypt_ttl:g} s everywhere. "
        f"If the KMS can't be asked, sealing stops after {policy.encrypt_ttl:g} s, opening after {policy.decrypt_ttl:g} s."
    )


def token_tally(namespace: Namespace, found: TokenTally) -> None:
    """Print the result of comparing a namespace's tokens with its records."""
    right = found.records - found.wrong - found.unreadable + found.repaired
    console.print(f"{namespace.namespace_id}: the tokens of {right} of {found.records} records are correct")
    if found.wrong:
        console.print(f"  {found.wrong} had wrong tokens, {found.repaired} of them repaired")
    if found.unreadable:
        console.print(f"  {found.unreadable} records do not open: restore them from a backup")


def reconciliation(found: Reconciliation) -> None:
    """Print the result of comparing the search index with the records."""
    table(
        "namespace",
        "records",
        "correct documents",
        rows=((each.namespace_id, each.records, each.equal) for each in found.namespaces),
    )
    for drift, count in found.found.items():
        console.print(f"{count} documents {drift}, {found.repaired.get(drift, 0)} of them repaired")
    if found.orphans:
        console.print(f"{found.orphans} documents without a record, {found.removed} of them removed")
    if found.rewritten:
        console.print(f"{found.rewritten} documents written again")
    console.print(str(found))


def purged(rows: Mapping[str, int]) -> None:
    """Print the number of rows that a purge deleted from each table."""
    for name, count in rows.items():
        console.print(f"{count} rows deleted from {name}")
    if not rows:
        console.print("no rows were left")


async def executions(
    strongroom: Strongroom, name: str, query: str, *, limit: int, page_token: bytes | None, as_json: bool
) -> None:
    """Print a page of runs."""
    namespace = await strongroom.namespaces.get(name)
    page = await strongroom.visibility.list_workflow_executions(
        namespace.namespace_id, query, attribute_types(namespace), page_size=limit, page_token=page_token
    )
    token = page.next_page_token.decode() if page.next_page_token else None
    if as_json:
        for record in page.executions:
            _json({**record._asdict(), "search_attributes": dict(record.search_attributes)})
        if token:
            _json({"next_page_token": token})
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
        console.print(f"there are more; continue with: --page-token {token}", soft_wrap=True)


async def count(strongroom: Strongroom, name: str, query: str, *, as_json: bool) -> None:
    """Print a count."""
    namespace = await strongroom.namespaces.get(name)
    found = await strongroom.visibility.count_workflow_executions(
        namespace.namespace_id, query, attribute_types(namespace)
    )
    if as_json:
        _json({"count": found.count, "groups": dict(found.groups)})
        return
    console.print(found.count)
    if found.groups:
        table("group", "count", rows=found.groups)


async def explanation(strongroom: Strongroom, name: str, query: str) -> None:
    """Print how a filter is answered."""
    namespace = await strongroom.namespaces.get(name)
    found = await strongroom.visibility.explain(namespace.namespace_id, query, attribute_types(namespace))
    table(
        "attribute",
        "operator",
        "tokens sent",
        "decided by",
        "profile",
        "the index shows",
        "the query reveals",
        rows=(
            (
                condition.attribute,
                condition.operator,
                condition.tokens,
                "index" if condition.exact else "index, then the opened record",
                condition.profile,
                condition.leakage,
                condition.reveals,
            )
            for condition in found.conditions
        ),
    )
    console.print(f"{found.sure} documents match for certain, {found.possible} may")
    if found.epochs > 1:
        console.print(f"the index key is being rotated, so this is sent for {found.epochs} keys")
    if found.sorted_here:
        console.print(f"ORDER BY: each page opens all {found.possible} (at most {found.budget} beyond the page)")
    else:
        console.print(
            f"a count opens {found.opened} of them (at most {found.budget}); a list opens what its page needs"
        )


async def history(strongroom: Strongroom, name: str, workflow_id: str, run_id: str | None, *, as_json: bool) -> None:
    """Print the events of a run.

    Args:
        strongroom: The cell.
        name: The name of the namespace.
        workflow_id: The workflow id.
        run_id: The run id; None for the latest run.
        as_json: Whether to print JSON Lines.

    Raises:
        NotFound: The run does not exist, or its history is not stored.
    """
    namespace = await strongroom.namespaces.get(name)
    record = await _find_run(strongroom, namespace, workflow_id, run_id)
    rows = []
    async for node in _nodes(strongroom, namespace.namespace_id, record):
        for event in decode_batch(node.events.data):
            if as_json:
                encoded = base64.b64encode(event.data).decode()
                _json({"event_id": event.event_id, "time": event.time, "type": event.type, "event": encoded})
            else:
                shown = " ".join(payload.decode(errors="replace") for payload in payloads(event.data))
                rows.append((event.event_id, moment(event.time), event.type, shown))
    if not as_json:
        title = f"{record.workflow_id} / {record.run_id} ({record.workflow_type}, {record.execution_status})"
        table("event", "time (UTC)", "type", "payloads", rows=rows, title=title)


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
    shard_id = await strongroom.shards.shard_of(namespace_id, record.workflow_id)
    branches = await strongroom.history.get_history_tree(namespace_id, shard_id=shard_id, tree_id=UUID(record.run_id))
    if not branches:
        raise NotFound("the history of this run is not stored")
    newest = _newest(branches)
    token = None
    while True:
        page = await strongroom.history.read_history_branch(namespace_id, newest, page_size=_PAGE, page_token=token)
        for node in page.nodes:
            yield node
        token = page.next_page_token
        if token is None:
            return


def _newest(branches: Sequence[BranchInfo]) -> HistoryBranch:
    """Return the newest branch. A fork is newer than the branch that it was forked from, whatever the clocks of their hosts are."""

    def forked(info: BranchInfo) -> tuple[int, int]:
        ancestors = {part.branch_id for part in info.branch.ancestors}
        times = [each.fork_time_ns for each in branches if each.branch.branch_id in ancestors]
        return max([info.fork_time_ns, *times]), len(ancestors)

    return max(branches, key=forked).branch


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _json(value: Any) -> None:
    sys.stdout.write(
        orjson.dumps(value, default=lambda other: other.decode() if isinstance(other, bytes) else str(other)).decode()
        + "\n"
    )
