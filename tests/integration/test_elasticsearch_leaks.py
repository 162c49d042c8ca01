"""Nothing that a tenant wrote is in any file of a node; a plaintext copy on the same node shows that the search is not blind."""

from __future__ import annotations

import asyncio
import secrets

import pytest

from strongroom.driver.demo.leak_scan import scan
from tests.support.plaintext_copy import CUSTOM, Attributes, PlaintextCopy
from tests.support.sealed_namespace import sealed

pytestmark = pytest.mark.integration

ATTRIBUTES = Attributes(CUSTOM)
SECOND = 10**9
TEXTS = (
    "WorkflowId",
    "WorkflowType",
    "TaskQueue",
    "ParentWorkflowId",
    "RootWorkflowId",
    "Customer",
    "Größe",
    "Notes",
    "BatcherUser",
)
LISTS = ("Labels", "BuildIds")


def canaries(owner):
    """Return a document whose texts occur nowhere else, and those texts by attribute."""
    marks = {name: f"{owner}{secrets.token_hex(12)}" for name in (*TEXTS, *LISTS, "RunId", "ParentRunId")}
    document = {name: [mark] if name in LISTS else mark for name, mark in marks.items()}
    times = {"StartTime": SECOND, "ExecutionTime": SECOND}
    return {**document, **times, "ExecutionStatus": "Running", "Pieces": 7, "Paid": True}, marks


async def test_no_file_of_the_node_contains_a_word_of_a_tenant(config_path, elasticsearch):
    """This covers segments, translog, state and logs, after writes, updates, searches, a merge and slow logs of all searches."""
    if elasticsearch.data is None:
        pytest.skip("the node's files are not on this machine")
    client = elasticsearch.client
    own, secret = canaries("sealed")
    plain, shown = canaries("plain")
    plaintext_copy = await asyncio.to_thread(
        PlaintextCopy.create, client, f"{elasticsearch.prefix}plaintext", ATTRIBUTES
    )
    async with sealed(config_path, elasticsearch, "Elasticsearch") as ours:
        name = ours.strongroom.search_index.name
        slow = {f"index.search.slowlog.threshold.{phase}.trace": "0ms" for phase in ("query", "fetch")}
        client.request("PUT", f"/{name}/_settings", slow | {"index.indexing.slowlog.threshold.index.trace": "0ms"})
        for version in (1, 2):
            await ours.write([own], version=version)
            await asyncio.to_thread(plaintext_copy.write, [plain])
            client.request("POST", "/_flush")
        filters = [f"`{attribute}` = '{secret[attribute]}'" for attribute in (*TEXTS, *LISTS)]
        for text in (*filters, f"WorkflowId STARTS_WITH '{secret['WorkflowId'][:20]}'"):
            assert await ours.pages(text, 10) == [[own["RunId"]]], text
            assert (await ours.count(text))[0] == 1
        keep = canaries("sealed")[0]
        await ours.write([keep])
        client.request("POST", f"/{name}/_forcemerge?max_num_segments=1")
        client.request("POST", "/_flush")
        report = await asyncio.to_thread(scan, elasticsearch.data.parent, [*secret.values(), *shown.values()])
        assert report.files > 20
        found = {attribute for attribute, mark in shown.items() if mark in report.hits}
        assert found >= {*TEXTS, *LISTS} - {"ParentRunId"}, "the words of the plaintext copy are found"
        assert {attribute: report.hits[mark] for attribute, mark in secret.items() if mark in report.hits} == {}
        mapping = str(client.request("GET", f"/{name}/_mapping"))
        assert not any(attribute in mapping for attribute in CUSTOM)
