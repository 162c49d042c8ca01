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
    PlaintextCopy,
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
    """Return a minimal document."""
    return {
        "WorkflowId": f"w{number}",
        "RunId": f"00000000-0000-4000-8000-{number:012}",
        "ExecutionStatus": "Running",
        "StartTime": EPOCH,
        **values,
    }


@pytest.fixture
def plaintext_copy(elasticsearch):
    return PlaintextCopy.create(elasticsearch.client, f"{elasticsearch.prefix}plaintext", ATTRIBUTES)


@pytest.fixture
def documents(plaintext_copy):
    """Documents of all kinds, in several segments, and those of another namespace next to them."""
    random = Random(20_261_124)  # noqa: S311 - repeatable
    found = random_documents(random, 300, edges=True)
    for start in range(0, len(found), 100):
        plaintext_copy.write(found[start : start + 100])
    plaintext_copy.write(random_documents(random, 50), namespace_id=OTHER_NAMESPACE)
    return found


def expected(text, documents):
    return model.run_ids(text, documents, ATTRIBUTES)


def test_the_node_and_the_model_agree_on_random_filters(plaintext_copy, documents):
    """Two oracles that share only a parser return the same runs in the same order, and the same count."""
    random, hits = Random(1), Counter()  # noqa: S311 - repeatable
    for _ in range(FILTERS):
        text = random_filter(random, ATTRIBUTES, order_by=0.3, edges=True)
        wanted = expected(text, documents)
        assert plaintext_copy.run_ids(text) == wanted, text
        assert plaintext_copy.count(text) == len(wanted), text
        hits["all" if len(wanted) == len(documents) else "some" if wanted else "none"] += 1
    assert hits["some"] > FILTERS // 4, hits  # otherwise the filters prove nothing


@pytest.mark.parametrize("kind", KINDS)
def test_the_node_and_the_model_agree_on_each_attribute(plaintext_copy, documents, kind):
    """They agree on each operator and each spelling of a value, for each attribute, alone and negated."""
    random = Random(kind)  # noqa: S311 - repeatable
    of_kind = [attribute for attribute in ATTRIBUTES if attribute.kind == kind]
    each = max(12, 60 // len(of_kind))
    conditions = {random_condition(random, attribute, edges=True) for attribute in of_kind * each}
    found = ask(plaintext_copy, sorted(conditions | {f"NOT ({condition})" for condition in conditions}))
    for text, runs in found.items():
        assert runs == set(expected(text, documents)), text


def ask(plaintext_copy, texts):
    """Return the runs of each filter, in one request."""
    lines = []
    for text in texts:
        query = plaintext_copy.query(text)["query"]
        lines += [{"index": plaintext_copy.index}, {"query": query, "size": 1000, "_source": ["RunId"]}]
    answers = plaintext_copy.client.request("POST", "/_msearch", lines)["responses"]
    return {
        text: {hit["_source"]["RunId"] for hit in answer["hits"]["hits"]}
        for text, answer in zip(texts, answers, strict=True)
    }


def test_the_comparison_can_fail(plaintext_copy):
    """Two documents that differ in one value are distinguished, for a value of each type."""
    pairs = {
        "Customer": ("ada", "bob"),
        "Labels": (["a"], ["b"]),
        "Notes": ("the door", "the floor"),
        "Pieces": (1, 2),
        "Price": (1.5, -1.5),
        "Paid": (True, False),
        "Due": (EPOCH, EPOCH + 1),
        "ExecutionStatus": ("Running", "Paused"),
    }
    asked = ("'ada'", "'a'", "'door'", "1", "1.5", "true", str(EPOCH), "1")
    written = [run(1, **{name: values[0] for name, values in pairs.items()})]
    claimed = [run(1, **{name: values[1] for name, values in pairs.items()})]
    plaintext_copy.write(written)
    for name, value in zip(pairs, asked, strict=True):
        text = f"{name} = {value}"
        assert plaintext_copy.run_ids(text) == expected(text, written) != expected(text, claimed)


def test_pages_neither_skip_nor_repeat(plaintext_copy, documents):
    """The pages together are the list, although many runs close and start in the same nanosecond."""
    for text in ("", "ORDER BY WorkflowType", "ORDER BY Paid DESC, Price", "ORDER BY Labels DESC"):
        whole = expected(text, documents)
        assert [run_id for page in plaintext_copy.pages(text, size=17) for run_id in page] == whole


def test_the_default_order_is_open_first_then_by_close_start_and_run(plaintext_copy):
    """Open runs come first; then runs are ordered by close time, start time and run id, descending."""
    closed = {"ExecutionStatus": "Completed", "CloseTime": EPOCH + SECOND}
    plaintext_copy.write(
        [
            run(1, **closed),
            run(2, **closed),
            run(3, **closed, StartTime=EPOCH + 1),
            run(4, **closed | {"CloseTime": EPOCH + SECOND + 1}),
            run(5),
            run(6, StartTime=EPOCH + 1),
        ]
    )
    assert [int(run_id[-2:]) for run_id in plaintext_copy.run_ids("")] == [6, 5, 4, 3, 2, 1]


def test_groups_are_counted(plaintext_copy, documents):
    """GROUP BY counts the runs that match by value. A run without a division is in the group of the empty text."""
    for text in (
        "GROUP BY ExecutionStatus",
        "Price > 0 GROUP BY ExecutionStatus",
        "GROUP BY TemporalNamespaceDivision",
        "Customer IS NOT NULL GROUP BY NamespaceDivision",
        "GROUP BY TemporalLowCardinalityKeyword01",
    ):
        groups = plaintext_copy.groups(text)
        assert groups == model.groups(text, documents, ATTRIBUTES)
        assert len(groups) >= 3
        assert sum(groups.values()) <= plaintext_copy.count(text)


def test_a_filter_that_does_not_name_the_division_asks_for_runs_without_one(plaintext_copy):
    """The condition is implied unless the filter, its order or its groups name the division, by either of its names."""
    plaintext_copy.write([run(1), run(2, TemporalNamespaceDivision="x")])
    assert len(plaintext_copy.run_ids("")) == len(plaintext_copy.run_ids("WorkflowId != ''")) == 1
    for text in (
        "TemporalNamespaceDivision = 'x' OR WorkflowId = 'w1'",
        "NamespaceDivision IS NULL OR NamespaceDivision IS NOT NULL",
        "ORDER BY TemporalNamespaceDivision",
    ):
        assert len(plaintext_copy.run_ids(text)) == 2
    assert plaintext_copy.groups("GROUP BY TemporalNamespaceDivision") == {"": 1, "x": 1}


def test_a_namespace_sees_its_own_runs_only(plaintext_copy, documents):
    """All namespaces share an index, and each sees its own runs only."""
    mine, others = set(plaintext_copy.run_ids("")), set(plaintext_copy.run_ids("", namespace_id=OTHER_NAMESPACE))
    assert mine == set(expected("", documents))
    assert others
    assert not mine & others


def test_writing_a_run_again_replaces_its_document(plaintext_copy):
    """A document belongs to a workflow id and run id, so the record of the close replaces that of the start."""
    plaintext_copy.write([run(1, Customer="a")])
    plaintext_copy.write([run(1, ExecutionStatus="Completed", CloseTime=EPOCH + 1)])
    assert plaintext_copy.count("") == 1
    assert plaintext_copy.run_ids("Customer IS NULL AND CloseTime > 0 AND ExecutionStatus = 2") == [run(1)["RunId"]]


def test_a_time_without_fraction_is_its_whole_second_in_temporal(plaintext_copy):
    """Temporal treats such a time as its whole second. The oracles do so only if asked to be faithful."""
    second = rfc3339(EPOCH)
    documents = [run(number, Due=EPOCH + after) for number, after in enumerate((0, 1, SECOND - 1, SECOND))]
    plaintext_copy.write(documents)
    for operator, exact, faithful in (
        ("=", [0], [0, 1, 2]),
        ("!=", [1, 2, 3], [3]),
        ("<=", [0], [0, 1, 2]),
        (">", [1, 2, 3], [3]),
        ("<", [], []),
        (">=", [0, 1, 2, 3], [0, 1, 2, 3]),
    ):
        text = f"Due {operator} '{second}'"
        assert sorted(int(run_id[-2:]) for run_id in plaintext_copy.run_ids(text)) == exact
        assert sorted(int(run_id[-2:]) for run_id in plaintext_copy.run_ids(text, faithful=True)) == faithful
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
def test_values_that_elasticsearch_cannot_take(plaintext_copy, text, exact):
    """Elasticsearch and Temporal refuse numbers beyond 64 bits. The oracles answer them unless asked to be faithful."""
    document = run(1, Due=EPOCH, Pieces=7)
    plaintext_copy.write([document, run(2)])
    assert plaintext_copy.run_ids(text) == ([document["RunId"]] if exact else [])
    assert model.matches(text, document, ATTRIBUTES) is exact
    with pytest.raises(InvalidFilter, match="64 bits"):
        plaintext_copy.query(text, faithful=True)
    refused = json.loads(json.dumps(plaintext_copy.query("Due > 1")["query"]))
    refused["bool"]["filter"].append({"range": {"Datetime01": {"gt": "1960-01-01T00:00:00Z"}}})
    with pytest.raises(ElasticsearchAnswer, match="cannot be stored in nanosecond resolution"):
        plaintext_copy.client.request("POST", f"/{plaintext_copy.index}/_search", {"query": refused})


def test_doubles_are_compared_at_four_decimals(plaintext_copy):
    """This is true for equality, order and sorting, also of Doubles that Elasticsearch rounds in two ways or limits."""
    values = (*EDGES, 1.00001, 1.00004, 1.00006, 1.0001, -1.0001, 0.0, -0.0, 9.1e14, 9.3e14, -9.3e14)
    documents = [run(number, Price=value) for number, value in enumerate(values)]
    plaintext_copy.write(documents)
    asked = [f"Price {operator} {value!r}" for value in values for operator in ("=", "<", "<=", ">", ">=")]
    for text, runs in ask(plaintext_copy, asked).items():
        assert runs == set(expected(text, documents)), text
    assert plaintext_copy.run_ids("ORDER BY Price DESC") == expected("ORDER BY Price DESC", documents)


def test_words_are_those_of_the_standard_analyzer(elasticsearch):
    """The model splits all texts of the generators as the node does."""
    for text in (*SENTENCES, *QUESTIONS, *TEXTS):
        tokens = elasticsearch.client.request("GET", "/_analyze", {"analyzer": "standard", "text": text})["tokens"]
        assert words(text) == {token["token"] for token in tokens}, text


def test_documents_are_mapped_as_in_temporal(plaintext_copy):
    """Each attribute has the field and type of Temporal's template. A document adds no field."""
    properties = plaintext_copy.client.request("GET", f"/{plaintext_copy.index}/_mapping")[plaintext_copy.index][
        "mappings"
    ]["properties"]
    types = {name: field["type"] for name, field in properties.items()}
    assert types["NamespaceId"] == types["WorkflowId"] == types["BuildIds"] == types["Keyword02"] == "keyword"
    assert types["CloseTime"] == types["Datetime01"] == "date_nanos"
    assert types["HistoryLength"] == types["Int02"] == "long"
    assert types["Text01"] == "text"
    assert types["Bool01"] == "boolean"
    assert types["Double01"] == ("scaled_float" if plaintext_copy.scaled_float else "long")
    assert "Customer" not in types
    source = plaintext_copy.source(run(1, Due=EPOCH + 120_000_000, Customer="a"))
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
    """The oracles refuse the filters that Temporal refuses, with the same kind of error."""
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
        ("TemporalScheduleId = 'w1' AND TemporalScheduleId != 'w2'", {}),
        ("ScheduleId = 'w1' AND ScheduleId != 'w2'", {"WorkflowId": "temporal-sys-scheduler:w1"}),
        ("WorkflowType = true", {"WorkflowType": "true"}),
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
        ("Notes = 'floor DOOR' AND Notes != 'roof' AND NOT Notes = '...'", {"Notes": "the door"}),
        ("Customer STARTS_WITH '' AND Customer NOT STARTS_WITH 'b'", {"Customer": "a"}),
        ("Pieces BETWEEN 1 AND 1 AND Pieces NOT BETWEEN 2 AND 0", {"Pieces": 1}),
    ],
)
def test_examples_of_the_language(text, document):
    """The expected answers are written by hand, because an oracle can't check itself."""
    if document is None:
        with pytest.raises(InvalidFilter):
            model.matches(text, run(1), ATTRIBUTES)
    else:
        assert model.matches(text, run(1, **document), ATTRIBUTES)
        assert not model.matches(f"NOT ({text.split(';')[0]})", run(1, **document), ATTRIBUTES)
