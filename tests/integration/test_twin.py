from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from tests.support.elasticsearch_node import ElasticsearchAnswer
from tests.support.plaintext_copy import (
    CUSTOM,
    Attributes,
    InvalidFilter,
    Twin,
    model,
    random_condition,
    random_documents,
    random_filter,
)
from tests.support.plaintext_copy.attributes import KINDS
from tests.support.plaintext_copy.generate import EDGES, EPOCH, NAMESPACE, QUESTIONS, SECOND, SENTENCES, TEXTS
from tests.support.plaintext_copy.mapping import rfc3339
from tests.support.plaintext_copy.words import words

pytestmark = pytest.mark.integration

ATTRIBUTES = Attributes(CUSTOM)
OTHER_NAMESPACE = "6a6d2c1e-0000-4000-8000-000000000001"
FILTERS = 250


def run(number, **values):
    """A document with as little as one has."""
    return {
        "WorkflowId": f"w{number}",
        "RunId": f"00000000-0000-4000-8000-{number:012}",
        "ExecutionStatus": "Running",
        "StartTime": EPOCH,
        **values,
    }


@pytest.fixture
def twin(elasticsearch):
    return Twin.create(elasticsearch.client, f"{elasticsearch.prefix}twin", ATTRIBUTES)


@pytest.fixture
def documents(twin):
    """Documents of all kinds, in several segments, and those of another namespace next to them."""
    random = Random(20_261_124)  # noqa: S311 - repeatable
    found = random_documents(random, 300, edges=True)
    for start in range(0, len(found), 100):
        twin.write(found[start : start + 100])
    twin.write(random_documents(random, 50), namespace_id=OTHER_NAMESPACE)
    return found


def expected(text, documents):
    return model.run_ids(text, documents, ATTRIBUTES)


def test_the_node_and_the_model_agree_on_random_filters(twin, documents):
    """Two oracles that share only a parser give the same runs in the same order, and the same count."""
    random, hits = Random(1), Counter()  # noqa: S311 - repeatable
    for _ in range(FILTERS):
        text = random_filter(random, ATTRIBUTES, order_by=0.3, edges=True)
        wanted = expected(text, documents)
        assert twin.run_ids(text) == wanted, text
        assert twin.count(text) == len(wanted), text
        hits["all" if len(wanted) == len(documents) else "some" if wanted else "none"] += 1
    assert hits["some"] > FILTERS // 4, hits  # else the filters ask nothing


@pytest.mark.parametrize("kind", KINDS)
def test_the_node_and_the_model_agree_on_each_attribute(twin, documents, kind):
    """Each operator and spelling of a value on each attribute of each type, alone and negated."""
    random = Random(kind)  # noqa: S311 - repeatable
    of_kind = [attribute for attribute in ATTRIBUTES if attribute.kind == kind]
    each = max(12, 60 // len(of_kind))
    conditions = {random_condition(random, attribute, edges=True) for attribute in of_kind * each}
    found = ask(twin, sorted(conditions | {f"NOT ({condition})" for condition in conditions}))
    for text, runs in found.items():
        assert runs == set(expected(text, documents)), text


def ask(twin, texts):
    """Return the runs of each filter, all asked in one request."""
    lines = []
    for text in texts:
        query = twin.query(text)["query"]
        lines += [{"index": twin.index}, {"query": query, "size": 1000, "_source": ["RunId"]}]
    answers = twin.client.request("POST", "/_msearch", lines)["responses"]
    return {
        text: {hit["_source"]["RunId"] for hit in answer["hits"]["hits"]}
        for text, answer in zip(texts, answers, strict=True)
    }


def test_the_comparison_can_fail(twin):
    """Two documents that differ in one value are distinguished, for a value of each type."""
    pairs = {
        "Customer": ("ada", "bob"),
        "Labels": (["a"], ["b"]),
        "Notes": ("the door", "the wall"),
        "Pieces": (1, 2),
        "Price": (1.5, -1.5),
        "Paid": (True, False),
        "Due": (EPOCH, EPOCH + 1),
        "ExecutionStatus": ("Running", "Paused"),
    }
    asked = ("'ada'", "'a'", "'door'", "1", "1.5", "true", str(EPOCH), "1")
    written = [run(1, **{name: values[0] for name, values in pairs.items()})]
    claimed = [run(1, **{name: values[1] for name, values in pairs.items()})]
    twin.write(written)
    for name, value in zip(pairs, asked, strict=True):
        text = f"{name} = {value}"
        assert twin.run_ids(text) == expected(text, written) != expected(text, claimed)


def test_pages_neither_skip_nor_repeat(twin, documents):
    """A list in pages is the list, though many runs close and start in the same nanosecond."""
    for text in ("", "ORDER BY WorkflowType", "ORDER BY Paid DESC, Price", "ORDER BY Labels DESC"):
        whole = expected(text, documents)
        assert [run_id for page in twin.pages(text, size=17) for run_id in page] == whole


def test_the_default_order_is_open_first_then_by_close_start_and_run(twin):
    """Open runs, then the latest close, then the latest start, then the greatest run id."""
    closed = {"ExecutionStatus": "Completed", "CloseTime": EPOCH + SECOND}
    twin.write(
        [
            run(1, **closed),
            run(2, **closed),
            run(3, **closed, StartTime=EPOCH + 1),
            run(4, **closed | {"CloseTime": EPOCH + SECOND + 1}),
            run(5),
            run(6, StartTime=EPOCH + 1),
        ]
    )
    assert [int(run_id[-2:]) for run_id in twin.run_ids("")] == [6, 5, 4, 3, 2, 1]


def test_groups_are_counted(twin, documents):
    """GROUP BY counts by value, under the filter; a run without division is in the group of no text."""
    for text in (
        "GROUP BY ExecutionStatus",
        "Price > 0 GROUP BY ExecutionStatus",
        "GROUP BY TemporalNamespaceDivision",
        "Customer IS NOT NULL GROUP BY NamespaceDivision",
        "GROUP BY TemporalLowCardinalityKeyword01",
    ):
        groups = twin.groups(text)
        assert groups == model.groups(text, documents, ATTRIBUTES)
        assert len(groups) >= 3
        assert sum(groups.values()) <= twin.count(text)


def test_a_filter_that_does_not_name_the_division_asks_for_runs_without_one(twin):
    """The condition is implied, unless the filter, its order, or its groups name the division, by either of its names."""
    twin.write([run(1), run(2, TemporalNamespaceDivision="x")])
    assert len(twin.run_ids("")) == len(twin.run_ids("WorkflowId != ''")) == 1
    for text in (
        "TemporalNamespaceDivision = 'x' OR WorkflowId = 'w1'",
        "NamespaceDivision IS NULL OR NamespaceDivision IS NOT NULL",
        "ORDER BY TemporalNamespaceDivision",
    ):
        assert len(twin.run_ids(text)) == 2
    assert twin.groups("GROUP BY TemporalNamespaceDivision") == {"": 1, "x": 1}


def test_another_namespace_is_another_world(twin, documents):
    """A namespace sees its own runs only; all share the index."""
    mine, others = set(twin.run_ids("")), set(twin.run_ids("", namespace_id=OTHER_NAMESPACE))
    assert mine == set(expected("", documents))
    assert others
    assert not mine & others


def test_a_run_that_is_written_again_takes_its_own_place(twin):
    """A document is by workflow and run: a close replaces the start."""
    twin.write([run(1, Customer="a")])
    twin.write([run(1, ExecutionStatus="Completed", CloseTime=EPOCH + 1)])
    assert twin.count("") == 1
    assert twin.run_ids("Customer IS NULL AND CloseTime > 0 AND ExecutionStatus = 2") == [run(1)["RunId"]]


def test_a_time_without_fraction_is_its_whole_second_in_temporal(twin):
    """The trap is real, and left out unless asked for: one nanosecond after the second, before its end, and at its end."""
    second = rfc3339(EPOCH)
    documents = [run(number, Due=EPOCH + after) for number, after in enumerate((0, 1, SECOND - 1, SECOND))]
    twin.write(documents)
    for operator, exact, faithful in (
        ("=", [0], [0, 1, 2]),
        ("!=", [1, 2, 3], [3]),
        ("<=", [0], [0, 1, 2]),
        (">", [1, 2, 3], [3]),
        ("<", [], []),
        (">=", [0, 1, 2, 3], [0, 1, 2, 3]),
    ):
        text = f"Due {operator} '{second}'"
        assert sorted(int(run_id[-2:]) for run_id in twin.run_ids(text)) == exact
        assert sorted(int(run_id[-2:]) for run_id in twin.run_ids(text, faithful=True)) == faithful
        for document in documents:
            number = int(document["RunId"][-2:])
            assert model.matches(text, document, ATTRIBUTES, faithful=True) == (number in faithful)


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("Due > '1960-01-01T00:00:00Z'", True),
        ("Due < '1960-01-01T00:00:00Z'", False),
        ("Due = '2300-01-01T00:00:00Z'", False),
        ("Due <= '2300-01-01T00:00:00Z'", True),
        ("Due BETWEEN '1960-01-01T00:00:00Z' AND '2300-01-01T00:00:00Z'", True),
        ("Due IN ('1960-01-01T00:00:00Z')", False),
        ("Pieces < 9300000000000000000", True),
        ("Pieces > 9300000000000000000", False),
        ("Pieces BETWEEN -1e300 AND 1e300", True),
        ("Pieces IN (7, 1e300)", True),
    ],
)
def test_values_that_elasticsearch_cannot_take(twin, text, exact):
    """Out of 64 bits, it refuses, as Temporal then does; the oracles answer what numbers mean, unless asked to be faithful."""
    document = run(1, Due=EPOCH, Pieces=7)
    twin.write([document, run(2)])
    assert twin.run_ids(text) == ([document["RunId"]] if exact else [])
    assert model.matches(text, document, ATTRIBUTES) is exact
    with pytest.raises(InvalidFilter, match="64 bits"):
        twin.query(text, faithful=True)
    refused = json.loads(json.dumps(twin.query("Due > 1")["query"]))
    refused["bool"]["filter"].append({"range": {"Datetime01": {"gt": "1960-01-01T00:00:00Z"}}})
    with pytest.raises(ElasticsearchAnswer, match="cannot be stored in nanosecond resolution"):
        twin.client.request("POST", f"/{twin.index}/_search", {"query": refused})


def test_doubles_are_compared_at_four_decimals(twin):
    """Equality, order and sorting of Doubles, with those that Elasticsearch rounds in two ways, and those that it cuts off."""
    values = (*EDGES, 1.00001, 1.00004, 1.00006, 1.0001, -1.0001, 0.0, -0.0, 9.1e14, 9.3e14, -9.3e14)
    documents = [run(number, Price=value) for number, value in enumerate(values)]
    twin.write(documents)
    asked = [f"Price {operator} {value!r}" for value in values for operator in ("=", "<", "<=", ">", ">=")]
    for text, runs in ask(twin, asked).items():
        assert runs == set(expected(text, documents)), text
    assert twin.run_ids("ORDER BY Price DESC") == expected("ORDER BY Price DESC", documents)


def test_words_are_those_of_the_standard_analyzer(elasticsearch):
    """The model splits texts as the node does, at least all those that the generators make."""
    for text in (*SENTENCES, *QUESTIONS, *TEXTS):
        tokens = elasticsearch.client.request("GET", "/_analyze", {"analyzer": "standard", "text": text})["tokens"]
        assert words(text) == {token["token"] for token in tokens}, text


def test_documents_are_mapped_as_in_temporal(twin):
    """Each attribute has the field and type of Temporal's template, and none is made by a document."""
    properties = twin.client.request("GET", f"/{twin.index}/_mapping")[twin.index]["mappings"]["properties"]
    types = {name: field["type"] for name, field in properties.items()}
    assert types["NamespaceId"] == types["WorkflowId"] == types["BuildIds"] == types["Keyword02"] == "keyword"
    assert types["CloseTime"] == types["Datetime01"] == "date_nanos"
    assert types["HistoryLength"] == types["Int02"] == "long"
    assert types["Text01"] == "text"
    assert types["Bool01"] == "boolean"
    assert types["Double01"] == ("scaled_float" if twin.scaled_float else "long")
    assert "Customer" not in types
    source = twin.source(run(1, Due=EPOCH + 120_000_000, Customer="a"))
    assert source["Datetime01"] == rfc3339(EPOCH + 120_000_000) == "2026-11-18T11:06:40.12Z"
    assert source["Keyword01"] == "a"
    assert source["NamespaceId"] == NAMESPACE


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("WorkflowId", "malformed"),
        ("WorkflowId = ", "malformed"),
        ("WorkflowId = 'a' AND", "malformed"),
        ("(WorkflowId = 'a'", "malformed"),
        ("WorkflowId = 'a", "malformed"),
        ("WorkflowId IN ()", "malformed"),
        ("WorkflowId = ('a', 'b')", "malformed"),
        ("WorkflowId = 'a' WorkflowType = 'b'", "malformed"),
        ("WorkflowId LIKE 'a%'", "malformed"),
        ("WorkflowId <=> 'a'", "malformed"),
        ("!WorkflowId = 'a'", "malformed"),
        ("'a' = WorkflowId", "malformed"),
        ("WorkflowId = 'a'; WorkflowId = 'b'", "malformed"),
        ("WorkflowId = 'a' HAVING RunId = 'b'", "malformed"),
        ("WorkflowId IS TRUE", "malformed"),
        ("Pieces = 0x1F", "malformed"),
        ("Pieces = 1a", "malformed"),
        ("WorkflowId = -'a'", "malformed"),
        ("GROUP BY WorkflowType", "unsupported"),
        ("GROUP BY ExecutionStatus, TemporalNamespaceDivision", "unsupported"),
        ("ORDER BY Notes", "unsupported"),
        ("nobody = 'a'", "invalid"),
        ("workflowid = 'a'", "invalid"),
        ("NamespaceId = 'a'", "invalid"),
        ("TemporalCustomer = 'a'", "invalid"),
        ("WorkflowId = 1", "invalid"),
        ("WorkflowId = true", "invalid"),
        ("Pieces = '1'", "invalid"),
        ("Paid = 1", "invalid"),
        ("Paid = 'true'", "invalid"),
        ("Paid BETWEEN false AND true", "invalid"),
        ("Notes STARTS_WITH 'a'", "invalid"),
        ("Notes IN ('a')", "invalid"),
        ("Labels > 'a'", "invalid"),
        ("Labels STARTS_WITH 'a'", "invalid"),
        ("Pieces STARTS_WITH '1'", "invalid"),
        ("Due = '2026-11-24'", "invalid"),
        ("Due = '2026-11-24T00:00:00'", "invalid"),
        ("Due = '2026-11-24T00:00:00+0800'", "invalid"),
        ("Due = '2026-02-30T00:00:00Z'", "invalid"),
        ("Due = '1795000000000000000'", "invalid"),
        ("Due = 1.5", "invalid"),
        ("ExecutionStatus = 'running'", "invalid"),
        ("ExecutionStatus = 9", "invalid"),
        ("ExecutionStatus STARTS_WITH 'Run'", "invalid"),
        ("ExecutionDuration = 1.5", "invalid"),
        ("ExecutionDuration = '1 h'", "invalid"),
        ("ExecutionDuration = '00:60:00'", "invalid"),
        ("ExecutionDuration = '300000h1d9999999d'", "invalid"),
        ("Pieces = 1e999", "invalid"),
    ],
)
def test_what_temporal_refuses(text, kind):
    """The oracles refuse what Temporal refuses, in its class."""
    with pytest.raises(InvalidFilter) as refused:
        model.matches(text, run(1), ATTRIBUTES)
    assert refused.value.kind == kind


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ("WorkflowId = 'w1' and not RunId = 'x' or false_friend = 1", None),
        ("NOT Pieces = 1 AND Pieces = 2", {"Pieces": 2}),
        ("NOT (Pieces = 1 OR Pieces = 3) && Pieces <> 4", {"Pieces": 2}),
        ("Pieces = 1 OR Pieces = 2 AND Pieces = 3", {"Pieces": 1}),
        ("Pieces = 7 -- seven\n AND /* and */ Paid = FALSE;", {"Pieces": 7, "Paid": False}),
        (r"""Customer = 'o''hara' AND `Customer` = 'o\'hara' AND Customer = "o'hara" """, {"Customer": "o'hara"}),
        (r"Customer = '\n\t\\\%'", {"Customer": "\n\t\\%"}),
        ("Customer = '''ends'''", {"Customer": "'ends'"}),
        ("Größe = 'S'", None),
        ("`Größe` = 'S'", {"Größe": "S"}),
        ("Price = -1.5 AND Price = - 1.5 AND Price < .5e1", {"Price": -1.5}),
        ("ScheduleId = 'w1' AND TemporalScheduleId != 'w2'", {}),
        ("SchedulePaused = TRUE AND TemporalWorkflowType = 't'", {"TemporalSchedulePaused": True, "WorkflowType": "t"}),
        ("ExecutionStatus = 'WORKFLOW_EXECUTION_STATUS_TIMED_OUT'", {"ExecutionStatus": "TimedOut"}),
        (
            "ExecutionStatus = 6 AND ExecutionStatus BETWEEN 'Canceled' AND 'Failed'",
            {"ExecutionStatus": "ContinuedAsNew"},
        ),
        ("ExecutionDuration = '1d2h3m4.5s'", {"ExecutionDuration": 93_784_500_000_000}),
        ("ExecutionDuration = '26:03:04' AND ExecutionDuration > '-1h'", {"ExecutionDuration": 93_784_000_000_000}),
        ("Due = '2026-11-18T12:06:40+01:00' AND Due = 1795000000000000000", {"Due": EPOCH}),
        ("Labels = 'a' AND Labels != 'c' AND Labels IN ('x', 'b')", {"Labels": ["a", "b"]}),
        ("Labels IS NULL AND Labels != 'a' AND NOT Labels IN ('a')", {}),
        ("Notes = 'wall DOOR' AND Notes != 'roof' AND NOT Notes = '...'", {"Notes": "the door"}),
        ("Customer STARTS_WITH '' AND Customer NOT STARTS_WITH 'b'", {"Customer": "a"}),
        ("Pieces BETWEEN 1 AND 1 AND Pieces NOT BETWEEN 2 AND 0", {"Pieces": 1}),
    ],
)
def test_examples_of_the_language(text, document):
    """What a text means is written down here by hand: neither oracle is the measure of itself."""
    if document is None:
        with pytest.raises(InvalidFilter):
            model.matches(text, run(1), ATTRIBUTES)
    else:
        assert model.matches(text, run(1, **document), ATTRIBUTES)
        assert not model.matches(f"NOT ({text.split(';')[0]})", run(1, **document), ATTRIBUTES)
