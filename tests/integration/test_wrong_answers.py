"""Answers that Elasticsearch does not give: each is an error, never an empty list, and the indexer outlives it and delivers later."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from strongroom.kms import StrongroomError
from tests.support.faults.http_proxy import JSON, Answer
from tests.support.search_cell import record

pytestmark = pytest.mark.integration

HTML = Answer(200, b"<html><body>Sign in</body></html>", "text/html")
ANSWERS = {
    "200 HTML": replace(HTML, product=False),
    "200 HTML of a product": HTML,
    "200 HTML that says JSON": replace(HTML, kind=JSON),
    "200 {}": Answer(),
    "200 {} without the product": Answer(product=False),
    "200 []": Answer(body=b"[]"),
    "200 null": Answer(body=b"null"),
    "200 a number": Answer(body=b"7"),
    "200 truncated": Answer(body=b'{"took": 3, "errors": fal'),
    "200 not UTF-8": Answer(body=b'{"took": "\xff\xfe"}'),
    "200 nothing": Answer(body=b""),
    "200 acknowledged": Answer(body=b'{"acknowledged": true}'),
    "200 plain text": Answer(body=b"ok", kind="text/plain"),
    "200 unknown type": Answer(body=b"{}", kind="application/x-unknown"),
    "204": Answer(204, b""),
    "301": Answer(301, b"", "text/html", product=False),
    "401": Answer(401),
    "403": Answer(403),
    "403 HTML": Answer(403, b"<html>blocked</html>", "text/html", product=False),
    "404": Answer(404),
    "404 HTML": Answer(404, b"<html>", "text/html", product=False),
    "408": Answer(408),
    "409": Answer(409),
    "413": Answer(413, b"<html>", "text/html", product=False),
    "429": Answer(429),
    "500": Answer(500),
    "502 HTML": Answer(502, b"<html>", "text/html", product=False),
    "503": Answer(503),
    "reset half way": Answer(200, b'{"took": 1, "errors": false, "items": []}', cut=True),
}


def given(answer, _asked):
    """Give an answer to every request."""
    return answer


async def outcome(ask):
    """Return what a request gave if it did not fail with an error of this project."""
    try:
        return [await ask()]
    except StrongroomError as error:
        return ["Sign in"] if "Sign in" in str(error) else []
    except Exception as error:  # noqa: BLE001 - the finding of the test
        return [type(error)]


async def test_an_answer_that_is_not_the_clusters_is_an_error_of_every_request(proxied_cell):
    """No wrong answer is an empty list, a count of 0 or a written document; all is delivered when the answers are right again."""
    proxy, cell = proxied_cell
    index, reconciler = cell.index, cell.strongroom.reconciler()

    async def older_versions():
        async with index.accepting_older_versions():
            pass

    async def each(request):
        async for _ in request:
            pass

    requests = {
        "list": cell.listed,
        "list of a filter": lambda: cell.listed("Customer > 'b'"),
        "list in order": lambda: cell.listed("ORDER BY WorkflowId"),
        "count": cell.count,
        "count with opened documents": lambda: cell.count("Customer > 'b'"),
        "groups": lambda: cell.count("GROUP BY ExecutionStatus"),
        "groups of another": lambda: cell.count("GROUP BY TemporalNamespaceDivision"),
        "explain": lambda: cell.visibility.explain(cell.namespace_id, "Customer > 'b'", {}),
        "refresh": index.refresh,
        "number of documents": index.count,
        "check": index.check,
        "create": index.create,
        "epochs": lambda: index.epochs(cell.namespace_id),
        "copies": lambda: each(index.copies(cell.namespace_id, [], chunk=10)),
        "sealed copies": lambda: each(index.sealed_copies(cell.namespace_id, chunk=10)),
        "reconcile": lambda: reconciler.run(repair=False),
        "older versions": older_versions,
        "delete a namespace": lambda: index.delete_namespace(cell.namespace_id),
        "drop": index.drop,
        "index": cell.strongroom.indexer.drain,
    }
    accepted = []
    await cell.write(*(record(number) for number in range(20, 30)))
    for name, answer in ANSWERS.items():
        proxy.rule = partial(given, answer)
        accepted += [(name, request, *found) for request, ask in requests.items() if (found := await outcome(ask))]
    assert accepted == []
    proxy.rule = None
    assert await cell.strongroom.outbox.waiting() == 10
    assert await cell.settle() == 10
    assert len(await cell.listed()) == await cell.count() == 30
