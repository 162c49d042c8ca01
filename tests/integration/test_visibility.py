from __future__ import annotations

import asyncio
import random
import string
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import floor
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import asyncpg
import pytest

from strongroom.driver.config import ElasticsearchConfig, load_config, write_config
from strongroom.driver.importing.importer import attribute_types, import_executions
from strongroom.driver.strongroom import Strongroom, shard_of
from strongroom.kms import IntegrityError, KekRef, KeyClass, rotate_data_key
from strongroom.storage import EVERY_NAMESPACE, InvalidPersistenceRequest, NotFound, all_tokens
from strongroom.visibility import (
    AttributeType,
    InvalidPageToken,
    InvalidRecord,
    QueryBudgetExceeded,
    UnknownAttribute,
    UnsupportedQuery,
    VisibilityManager,
    VisibilityRecord,
    matches,
    parse_filter,
)
from strongroom.visibility.backends.postgres import PostgresIndex
from strongroom.visibility.backends.token_query import all_of, any_of, none_of
from strongroom.visibility.fields import BUILT_IN
from strongroom.visibility.filter.tree import STATUS_NAMES, And, Not, Or
from strongroom.visibility.index.document import document_id
from strongroom.visibility.index.tokens import Tokenizer
from strongroom.visibility.search.compiler import Approximation, compile_filter

pytestmark = pytest.mark.integration

GENERATED, FILTERS = 150, 160
SECOND = 10**9
BASE = 1_795_000_000 * SECOND
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
CUSTOM = {
    "Customer": AttributeType.KEYWORD,
    "Größe": AttributeType.KEYWORD,
    "Labels": AttributeType.KEYWORD_LIST,
    "Notes": AttributeType.TEXT,
    "Pieces": AttributeType.INT,
    "Price": AttributeType.DOUBLE,
    "Paid": AttributeType.BOOL,
    "Due": AttributeType.DATETIME,
}
TEXTS = (
    "",
    "a",
    "A",
    "ä",
    "a\u0308",
    "日本語",
    "日本語テキスト",
    "o'hara",
    'say "so"',
    "back\\slash",
    "100%_",
    "line\nbreak",
    "\N{GRINNING FACE}",
    "x" * 40,
    "abc",
    "abcä",
    "abcd",
    "order/web/00001",
    "order/web/00002",
    "order/app/00001",
    "order/web/00001/child/of/the/very/long/kind",
)
SENTENCES = (
    "",
    "...",
    "leave with neighbour, please",
    "Leave At The DOOR",
    "zwei Wörter",
    "don't",
    "日本 語",
    "version 1.2.3",
    "a",
)
WHOLE = (
    INT64_MIN,
    INT64_MIN + 1,
    -(2**53) - 1,
    -17,
    -16,
    -15,
    -1,
    0,
    1,
    15,
    16,
    17,
    100,
    2**53 + 1,
    INT64_MAX - 1,
    INT64_MAX,
)
DECIMAL = (
    0.0,
    -0.0,
    1.00005,
    1.0000499999,
    0.1 + 0.2,
    3.14159265358979,
    -2.71828182845905,
    1e-9,
    -0.00005,
    1e17,
    -1e300,
    3,
    -7,
)
MOMENTS = (BASE, BASE + 1, BASE + SECOND - 1, BASE + SECOND, BASE - 1, BASE + 5 * SECOND + 123_456_789)
TIMES = (*MOMENTS, 0, -1, 1, SECOND - 1, INT64_MIN, INT64_MAX, -SECOND)


def generator():
    """Return random choices that the seed which pytest prints repeats."""
    return random.Random(random.getrandbits(64))  # noqa: S311 - test data


def whole(rng):
    return rng.choice((rng.choice(WHOLE), rng.randint(-50, 50), rng.randint(-(2 ** rng.randint(1, 63)), 2**63 - 1)))


def value_of(rng, kind):
    """Draw a value of a type: from a small pool, so that filters find something, and sometimes from everywhere."""
    match kind:
        case AttributeType.KEYWORD:
            return rng.choice((*TEXTS, "".join(rng.choices(string.ascii_letters, k=3))))
        case AttributeType.KEYWORD_LIST:
            return tuple(rng.choices(TEXTS, k=rng.randint(0, 3)))
        case AttributeType.TEXT:
            return rng.choice(SENTENCES)
        case AttributeType.INT:
            return whole(rng)
        case AttributeType.DOUBLE:
            return rng.choice(
                (rng.choice(DECIMAL), rng.uniform(-10, 10), rng.uniform(-1, 1) * 10 ** rng.randint(-6, 20))
            )
        case AttributeType.BOOL:
            return rng.random() < 0.5
        case AttributeType.DATETIME:
            return rng.choice((rng.choice(TIMES), rng.randint(BASE - SECOND, BASE + SECOND)))


def changed(record, **values):
    """Return a record with other values."""
    return record._replace(**values)


OF_CLOSED_RUNS = ("close_time", "execution_duration", "history_length", "history_size_bytes", "state_transition_count")


def opened_again(record):
    """Return a record of a run that is open."""
    return record._replace(execution_status="Running", **dict.fromkeys(OF_CLOSED_RUNS))


def generated_record(rng):
    """Draw a record; many share a second of start or close, a workflow id, a value."""
    status = rng.choice(STATUS_NAMES)
    is_open = status in {"Running", "Paused"}
    start = rng.choice(MOMENTS) + rng.choice((0, 0, 1, -SECOND))
    attributes = {name: value_of(rng, kind) for name, kind in CUSTOM.items() if rng.random() < 0.7}
    if rng.random() < 0.2:
        attributes["TemporalNamespaceDivision"] = rng.choice(("division", "", "TemporalScheduler"))
    if rng.random() < 0.3:
        attributes["BuildIds"] = value_of(rng, AttributeType.KEYWORD_LIST)
    if rng.random() < 0.3:
        attributes["TemporalSchedulePaused"] = rng.random() < 0.5
    workflow_id, run_id = rng.choice(TEXTS) or "w", str(UUID(int=rng.getrandbits(128)))
    return VisibilityRecord(
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=rng.choice(TEXTS),
        execution_status=status,
        task_queue=rng.choice(TEXTS),
        start_time=start,
        execution_time=rng.choice((start, rng.choice(TIMES))),
        close_time=None if is_open else rng.choice(TIMES if rng.random() < 0.2 else MOMENTS),
        execution_duration=None if is_open else whole(rng),
        history_length=None if is_open else rng.choice((1, 15, 16, 17, 500)),
        history_size_bytes=None if is_open else whole(rng),
        state_transition_count=None if is_open else rng.randint(0, 20),
        parent_workflow_id=rng.choice((None, *TEXTS)),
        parent_run_id=rng.choice((None, str(UUID(int=rng.getrandbits(4))))),
        root_workflow_id=rng.choice((None, workflow_id, rng.choice(TEXTS))),
        root_run_id=rng.choice((None, run_id, str(UUID(int=rng.getrandbits(2))))),
        search_attributes=MappingProxyType(attributes),
        memo=rng.randbytes(rng.choice((0, 10, 300))),
    )


def quoted(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def literal(rng, name, kind):
    """Write a value as a literal of the language, in one of its spellings."""
    value = value_of(rng, kind)
    if name == "ExecutionStatus":
        code = rng.randint(1, len(STATUS_NAMES))
        return rng.choice((quoted(STATUS_NAMES[code - 1]), str(code)))
    if name == "ExecutionDuration":
        return rng.choice((str(whole(rng)), "'1h30m'", "'00:00:01'", "'-1.5s'", "'250ms'"))
    match kind:
        case AttributeType.BOOL:
            return "TRUE" if value else "false"
        case AttributeType.INT:
            return rng.choice((str(value), str(rng.randint(-20, 20)), f"{rng.uniform(-20, 20):.3f}", "1e3", "-1e300"))
        case AttributeType.DOUBLE:
            return repr(value)
        case AttributeType.DATETIME:
            seconds, rest = divmod(value, SECOND)
            if rng.random() < 0.5 and 0 <= seconds < 4 * 10**9:
                return f"'{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z'"
            return str(value)
        case AttributeType.KEYWORD_LIST:
            return quoted(rng.choice(TEXTS))
        case AttributeType.KEYWORD if rng.random() < 0.3 and value:
            return quoted(value[: rng.randint(1, len(value))])
    return quoted(value)


ORDERED = ("=", "!=", "<", "<=", ">", ">=", "<>")
OPERATORS = {
    AttributeType.KEYWORD: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN", "STARTS_WITH", "NOT STARTS_WITH"),
    AttributeType.KEYWORD_LIST: ("=", "!=", "IN", "NOT IN"),
    AttributeType.TEXT: ("=", "!="),
    AttributeType.INT: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"),
    AttributeType.DOUBLE: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"),
    AttributeType.BOOL: (*ORDERED, "IN", "NOT IN"),
    AttributeType.DATETIME: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"),
}
SEARCHED = {
    **CUSTOM,
    **{
        name: BUILT_IN[name].type
        for name in (
            *(
                "WorkflowId",
                "RunId",
                "WorkflowType",
                "ExecutionStatus",
                "TaskQueue",
                "ParentWorkflowId",
                "RootWorkflowId",
            ),
            *("StartTime", "ExecutionTime", "CloseTime", "HistoryLength", "HistorySizeBytes", "ExecutionDuration"),
            *("StateTransitionCount", "BuildIds", "TemporalSchedulePaused", "TemporalNamespaceDivision"),
        )
    },
}


def condition(rng, name=None, operator=None):
    """Write one condition."""
    name = name or rng.choice(list(SEARCHED))
    kind = SEARCHED[name]
    operator = operator or rng.choice((*OPERATORS[kind], "IS NULL", "IS NOT NULL"))
    spelt = f"`{name}`" if not name.isascii() else name
    if operator.endswith("NULL"):
        return f"{spelt} {operator}"
    if operator.endswith("BETWEEN"):
        return f"{spelt} {operator} {literal(rng, name, kind)} AND {literal(rng, name, kind)}"
    if operator.endswith("IN"):
        return f"{spelt} {operator} ({', '.join(literal(rng, name, kind) for _ in range(rng.randint(1, 4)))})"
    if operator.endswith("STARTS_WITH") and name == "ExecutionStatus":
        return f"{spelt} {operator} 'Running'"
    return f"{spelt} {operator} {literal(rng, name, kind)}"


def random_filter(rng, depth=0):
    """Write a filter: conditions, nested AND, OR and NOT."""
    shape = rng.random()
    if depth == 4 or shape < 0.35:
        return condition(rng)
    if shape < 0.55:
        return f"NOT ({random_filter(rng, depth + 1)})"
    parts = [random_filter(rng, depth + 1) for _ in range(rng.randint(2, 3))]
    return "(" + f" {rng.choice(('AND', 'OR'))} ".join(parts) + ")"


def every_condition(rng):
    """Write each operator once for each attribute."""
    return [
        condition(rng, name, operator)
        for name, kind in SEARCHED.items()
        for operator in (*OPERATORS[kind], "IS NULL", "IS NOT NULL")
    ]


@dataclass(frozen=True)
class Searched:
    """A namespace, and in plaintext all that is in it."""

    strongroom: Strongroom
    namespace_id: UUID
    types: dict[str, AttributeType]
    records: dict[str, VisibilityRecord]

    def expected(self, query):
        """Return what a list must give: matching records, open ones first, the rest by close, start and run id."""
        where = parse_filter(query, self.types).where
        found = [record for record in self.records.values() if matches(where, record.attributes())]
        return sorted(
            found,
            key=lambda record: (
                record.close_time is None,
                record.close_time if record.close_time is not None else 0,
                record.start_time,
                record.run_id,
            ),
            reverse=True,
        )

    async def listed(self, query, rng=None, *, page_size=None):
        """Return all pages of a list in one."""
        found, token = [], None
        while True:
            size = page_size or rng.choice((rng.randint(20, 90), 200, 1000, 1000))
            page = await self.strongroom.visibility.list_workflow_executions(
                self.namespace_id, query, self.types, page_size=size, page_token=token
            )
            found += page.executions
            token = page.next_page_token
            if token is None:
                return found
            assert len(page.executions) == size

    async def count(self, query):
        """Return how many match, and the groups."""
        return await self.strongroom.visibility.count_workflow_executions(self.namespace_id, query, self.types)


async def record_all(strongroom, namespace_id, records, types, *, version=1):
    """Write records on their shards; return how many were written."""
    keys = await strongroom.keyring.open(namespace_id)
    shards = strongroom.config.cell.shard_count
    rows = [(shard_of(keys, record.workflow_id, shards), version, record) for record in records]
    return await strongroom.visibility.record_workflow_executions(namespace_id, rows, types)


async def populated(strongroom, name, executions, records, *, custom=CUSTOM):
    """Make a namespace with executions imported and records written."""
    kek = KekRef.parse(f"local:{name}")
    await strongroom.create_kek(kek)
    registered = {attribute: kind.value for attribute, kind in custom.items()}
    namespace = await strongroom.namespaces.create(name, kek=kek, search_attributes=registered)
    if executions:
        await import_executions(strongroom, namespace, executions)
    namespace = await strongroom.namespaces.get(name)
    types = attribute_types(namespace)
    assert await record_all(strongroom, namespace.namespace_id, records, types) == len(records)
    everything = {record.run_id: record for record in (*(each.record for each in executions), *records)}
    return Searched(strongroom, namespace.namespace_id, types, everything)


@asynccontextmanager
async def new_database(server_dsn):
    """Make an empty database that several tests read."""
    name = f"visibility_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(server_dsn)
    await admin.execute(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(server_dsn)._replace(path=f"/{name}"))
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture(scope="module", params=["PostgreSQL", "Elasticsearch"])
async def searched(request, server_dsn, tmp_path_factory, sample):
    """The sample and generated records in one namespace, behind each search index. Nobody changes them."""
    rng = generator()
    path = tmp_path_factory.mktemp("searched") / "strongroom.toml"
    async with new_database(server_dsn) as dsn:
        write_config(path, dsn=dsn)
        config = load_config(path)
        if request.param == "Elasticsearch":
            url = request.getfixturevalue("elasticsearch_server").url
            config = replace(
                config, elasticsearch=ElasticsearchConfig(url, index=f"searched-{uuid4().hex[:8]}", insecure=True)
            )
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            index = strongroom.search_index
            if index is not None:
                await index.create()
            searched = await populated(
                strongroom, "searched", sample, [generated_record(rng) for _ in range(GENERATED)]
            )
            if index is not None:
                assert await strongroom.indexer.drain() == len(searched.records)
                await index.refresh()
            yield searched
            if index is not None:
                await index.drop()


@pytest.fixture
async def small(strongroom):
    """A namespace with a few generated records, to be changed."""
    rng = generator()
    still_open = opened_again(generated_record(rng))
    closed = changed(generated_record(rng), execution_status="Completed", close_time=BASE)
    return await populated(strongroom, "small", [], [still_open, closed, *(generated_record(rng) for _ in range(25))])


async def run(strongroom, statement, *arguments):
    """Run a statement like a person with the database and without keys; return its command tag."""
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        return await connection.execute(statement, *arguments)


async def test_random_filters_give_what_plaintext_gives(searched):
    """Every list, page by page, every count and every group is what the same filter gives on the records in clear."""
    rng = generator()
    queries = ["", *every_condition(rng), *(random_filter(rng) for _ in range(FILTERS))]
    found_some = 0
    for number, query in enumerate(queries):
        expected = searched.expected(query)
        found_some += 0 < len(expected) < len(searched.records)
        assert await searched.listed(query, rng) == expected, query
        assert (await searched.count(query)).count == len(expected), query
        if number % 5 == 0:
            grouped = await searched.count(f"{query} GROUP BY ExecutionStatus")
            sizes = Counter(record.execution_status for record in expected)
            assert grouped.count == len(expected), query
            assert grouped.groups == tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))), query
    assert found_some > len(queries) // 3, "the filters distinguish records, so that the comparison means something"


async def wrong_sides(searched, query, compiler):
    """Run both sides of a compiled filter; return the runs that one of them has or lacks against its promise."""
    keys = await searched.strongroom.keyring.open(searched.namespace_id)
    tokenizer = Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))
    compiled = compiler(parse_filter(query, searched.types).where, tokenizer)
    matching = {document_id(keys, record.workflow_id, record.run_id) for record in searched.expected(query)}
    sides = []
    index = searched.strongroom.search_index or PostgresIndex(searched.strongroom.database)
    async with index.reading(searched.namespace_id, snapshot=True) as reader:
        for side in (compiled.sure, compiled.possible):
            sides.append({row["id"] async for rows in reader.pages(side) for row in rows})
            assert await reader.count(side) == len(sides[-1])
    sure, possible = sides
    return (sure - matching) | (matching - possible)


def one_sided(node, tokenizer):
    """Compile as `compile_filter` does, but negate each side by itself: the mistake that loses rows without a word."""
    match node:
        case Not(item):
            inner = one_sided(item, tokenizer)
            return Approximation(none_of(inner.sure), none_of(inner.possible))
        case And(items) | Or(items):
            parts = [one_sided(item, tokenizer) for item in items]
            join = all_of if isinstance(node, And) else any_of
            return Approximation(join(*(part.sure for part in parts)), join(*(part.possible for part in parts)))
    return compile_filter(node, tokenizer)


async def test_the_two_sides_of_a_compiled_filter_hold(searched):
    """What the index is sure of matches, and what matches the index holds possible; a wrong negation is noticed."""
    rng = generator()
    queries = [random_filter(rng) for _ in range(FILTERS // 2)]
    caught = 0
    for query in queries:
        assert not await wrong_sides(searched, query, compile_filter), query
        caught += bool(await wrong_sides(searched, query, one_sided))
    assert caught > 0
    assert await wrong_sides(searched, "NOT WorkflowId STARTS_WITH 'order/web'", one_sided)


@pytest.mark.parametrize("page_size", [1, 2, 3])
async def test_no_run_is_skipped_or_repeated_where_times_are_equal(strongroom, page_size):
    """Runs that closed in one second, at one moment or with one start come once each, in order, page by page."""
    rng = generator()
    template = opened_again(generated_record(rng))
    records = [
        changed(
            template,
            run_id=str(uuid4()),
            start_time=BASE + start,
            close_time=close,
            execution_status="Running" if close is None else "Completed",
            search_attributes=MappingProxyType({}),
        )
        for start in (0, 0, 1, SECOND - 1, SECOND)
        for close in (None, BASE, BASE, BASE + 1, BASE + SECOND - 1, BASE + SECOND)
    ]
    searched = await populated(strongroom, "equal", [], records)
    listed = await searched.listed("", page_size=page_size)
    assert listed == searched.expected("")
    assert len(listed) == len(records)


@pytest.mark.parametrize("price", [1.7976931348623157e308, -1.7976931348623157e308, 1e305, 1e18])
async def test_every_finite_double_is_stored_and_found(strongroom, price):
    """A Double of any finite size can be recorded, read and compared, also where its four decimals pass all bounds."""
    rng = generator()
    record = changed(generated_record(rng), search_attributes=MappingProxyType({"Price": price}))
    searched = await populated(strongroom, "doubles", [], [record])
    for condition in ("= {}", "IN ({})", "IS NOT NULL", ">= {}", "<= {}", "BETWEEN {} AND {}"):
        query = f"Price {condition.format(price, price)}"
        assert await searched.listed(query, page_size=10) == searched.expected(query) == [record]
    for query in (f"Price < {price!r}", f"Price > {price!r}", f"Price BETWEEN 0 AND {price!r}"):
        assert await searched.listed(query, page_size=10) == searched.expected(query)


@pytest.mark.parametrize(
    "query", ["Price = 1e308", "Price IN (-1e305, 1)", "Price != 1e308", "Price < 1e308", "Pieces = 1e308"]
)
async def test_a_number_beyond_every_stored_one_is_answered(searched, query):
    """A literal of any finite size may be in a filter: it is compared, and does not crash."""
    assert await searched.listed(query, page_size=1000) == searched.expected(query)


QUERY = "Pieces IS NOT NULL OR Pieces IS NULL"


async def test_a_page_token_of_another_place_is_refused(strongroom, small):
    """A token goes on with its own query in its own namespace, and with nothing else."""
    rng = generator()
    other = await populated(strongroom, "other", [], [generated_record(rng) for _ in range(5)])
    page = await strongroom.visibility.list_workflow_executions(small.namespace_id, QUERY, small.types, page_size=3)
    token = page.next_page_token

    async def go_on(namespace_id=small.namespace_id, query=QUERY, token=token):
        return await strongroom.visibility.list_workflow_executions(
            namespace_id, query, small.types, page_size=1000, page_token=token
        )

    assert [*page.executions, *(await go_on()).executions] == small.expected(QUERY)
    for wrong in ({"query": ""}, {"query": QUERY + " "}, {"namespace_id": other.namespace_id}):
        with pytest.raises(InvalidPageToken):
            await go_on(**wrong)
    altered = [token[:place] + bytes([token[place] ^ 1]) + token[place + 1 :] for place in range(len(token) - 4)]
    altered += [token[:-1], token[4:], token + b"AAAA", token * 2, b"A", b"AAAA", b"\xff\xfe", b"x" * 10_000]
    for wrong in altered:
        with pytest.raises(InvalidPageToken):
            await go_on(token=wrong)


async def test_a_page_token_outlives_a_rotation(strongroom, small):
    """A list that was begun before the data key rotated can be gone on with, and the other way round in another process."""
    query = ""
    size = 3
    async with Strongroom.open(strongroom.config) as elsewhere:
        first = await elsewhere.visibility.list_workflow_executions(
            small.namespace_id, query, small.types, page_size=size
        )
        await rotate_data_key(strongroom.keyring, small.namespace_id)
        second = await strongroom.visibility.list_workflow_executions(
            small.namespace_id, query, small.types, page_size=size, page_token=first.next_page_token
        )
        third = await elsewhere.visibility.list_workflow_executions(
            small.namespace_id, query, small.types, page_size=1000, page_token=second.next_page_token
        )
    assert [*first.executions, *second.executions, *third.executions] == small.expected(query)


@pytest.mark.parametrize("page_size", [0, -1, 1001])
async def test_a_page_size_that_cannot_be_is_refused(small, page_size):
    """A page has 1 to 1,000 runs; anything else is an error."""
    with pytest.raises(InvalidPersistenceRequest, match="1 to 1000"):
        await small.strongroom.visibility.list_workflow_executions(
            small.namespace_id, "", small.types, page_size=page_size
        )


async def test_a_query_beyond_its_budget_is_refused(strongroom, small):
    """A query that would open too many documents is refused, not guessed; one that the index answers alone is served."""
    records = [record for record in small.records.values() if "TemporalNamespaceDivision" not in record.attributes()]
    frugal = VisibilityManager(strongroom.database, strongroom.keyring, open_budget=2)
    query = "WorkflowType < 'zzz'"  # an order of texts: nothing that tokens know
    with pytest.raises(QueryBudgetExceeded, match=r"WorkflowType < \(profile equality\)"):
        await frugal.count_workflow_executions(small.namespace_id, query, small.types)
    with pytest.raises(QueryBudgetExceeded):
        await frugal.list_workflow_executions(
            small.namespace_id, "WorkflowType > 'zzz' AND WorkflowType < 'zzzz'", small.types, page_size=1
        )
    with pytest.raises(QueryBudgetExceeded):
        await frugal.count_workflow_executions(small.namespace_id, f"{query} GROUP BY ExecutionStatus", small.types)
    served = await frugal.count_workflow_executions(small.namespace_id, "", small.types)
    assert served.count == len(records)
    enough = VisibilityManager(strongroom.database, strongroom.keyring, open_budget=len(small.records))
    counted = await enough.count_workflow_executions(small.namespace_id, query, small.types)
    assert counted.count == len(small.expected(query))


def sorted_by(name, descending, records):
    """Sort runs by one attribute, those without it last; equal ones stay as they are.

    A number or time that is missing is the farthest one that there can be, as in Elasticsearch.
    """
    farthest = INT64_MIN if descending else INT64_MAX
    missing = (0, farthest) if SEARCHED[name] in (AttributeType.INT, AttributeType.DATETIME) else (1 - 2 * descending,)

    def value(record):
        found = record.attributes().get(name)
        if found is None:
            return missing
        if isinstance(found, tuple):
            found = max(found) if descending else min(found)
        if name == "Price":
            found = min(max(floor(found * 10_000 + 0.5), INT64_MIN), INT64_MAX) / 10_000
        return (0, found)

    return sorted(records, key=value, reverse=descending)


def by_run_id(records):
    """Put runs into the order in which equal ones come."""
    return sorted(records, key=lambda record: record.run_id, reverse=True)


async def test_order_by_sorts_by_any_attribute_and_then_by_run(searched):
    """Each attribute that has an order, both ways, in pages that cut equal values; runs without one come last both ways."""
    rng = generator()
    for name in (name for name, kind in SEARCHED.items() if kind is not AttributeType.TEXT):
        query = rng.choice(("", "Pieces IS NOT NULL", "ExecutionStatus != 'Running'"))
        for direction in ("", "DESC"):
            spelt = f"`{name}`" if not name.isascii() else name
            listed = await searched.listed(f"{query} ORDER BY {spelt} {direction}", page_size=97)
            assert listed == sorted_by(name, bool(direction), by_run_id(searched.expected(query))), (name, direction)
    listed = await searched.listed("ORDER BY ExecutionStatus DESC, Paid, StartTime", page_size=50)
    expected = by_run_id(searched.expected(""))
    for name, descending in (("StartTime", False), ("Paid", False), ("ExecutionStatus", True)):
        expected = sorted_by(name, descending, expected)
    assert listed == expected


async def test_group_by_finds_values_that_nobody_listed(strongroom):
    """Divisions and Keywords of few values: exact counts of each, those without one under the empty text, as Temporal has it."""
    rng = generator()
    tiers = (None, "gold", "silver", "it's", "")
    records = [
        changed(
            generated_record(rng),
            search_attributes=MappingProxyType(
                {
                    **({} if (tier := tiers[number % 5]) is None else {"TemporalLowCardinalityKeywordTier": tier}),
                    **({"TemporalNamespaceDivision": "batch"} if number % 3 == 0 else {}),
                }
            ),
        )
        for number in range(40)
    ]
    tier = {"TemporalLowCardinalityKeywordTier": AttributeType.KEYWORD}
    searched = await populated(strongroom, "groups", [], records, custom=tier)
    ordinary = [record for number, record in enumerate(records) if number % 3]
    counted = Counter(record.attributes().get("TemporalLowCardinalityKeywordTier", "") for record in ordinary)
    grouped = await searched.count("GROUP BY TemporalLowCardinalityKeywordTier")
    assert (grouped.count, dict(grouped.groups)) == (len(ordinary), dict(counted))
    grouped = await searched.count("GROUP BY TemporalNamespaceDivision")
    assert dict(grouped.groups) == {"": len(ordinary), "batch": 40 - len(ordinary)}
    assert (await searched.count("HistoryLength = -1 GROUP BY TemporalNamespaceDivision")).groups == ()


async def test_an_explanation_says_what_is_exact_and_what_is_opened(searched):
    """Counts of both sides as they are, each condition with its profile, and no value of the filter."""
    query = "WorkflowId STARTS_WITH 'order/w' AND NOT (Customer = 'abc') OR Pieces > 100 ORDER BY Pieces"
    found = await searched.strongroom.visibility.explain(searched.namespace_id, query, searched.types)
    matching = len(searched.expected(query))
    assert found.sure <= matching <= found.possible
    assert found.sure < found.possible, "the ends of these conditions lie between what the index has"
    assert (found.exact, found.sorted_here, found.opened) == (False, True, found.possible - found.sure)
    assert [(each.attribute, each.operator, each.exact) for each in found.conditions] == [
        ("WorkflowId", "STARTS_WITH", False),
        ("Customer", "=", True),
        ("Pieces", ">", False),
        ("TemporalNamespaceDivision", "IS NULL", True),
    ]
    assert "abc" not in repr(found)
    assert "order" not in repr(found)
    exact = await searched.strongroom.visibility.explain(searched.namespace_id, "Customer = 'abc'", searched.types)
    assert exact.exact
    assert exact.possible == len(searched.expected("Customer = 'abc'"))


@pytest.mark.parametrize(
    "query",
    [
        "ORDER BY Notes",
        "GROUP BY ExecutionStatus ORDER BY StartTime",
        "GROUP BY Customer",
    ],
)
async def test_what_is_not_served_is_refused(searched, query):
    """A sort key or a group that is not served is never passed over: neither the list nor the count answers."""
    with pytest.raises(UnsupportedQuery):
        await searched.strongroom.visibility.list_workflow_executions(searched.namespace_id, query, searched.types)
    with pytest.raises(UnsupportedQuery):
        await searched.count(query)


async def test_a_list_does_not_group(searched):
    """GROUP BY belongs to a count; in a list it is refused."""
    with pytest.raises(UnsupportedQuery):
        await searched.strongroom.visibility.list_workflow_executions(
            searched.namespace_id, "GROUP BY ExecutionStatus", searched.types
        )


async def test_an_unknown_attribute_is_refused(searched):
    """A name that the namespace has not registered is an error, so that nothing is found by it."""
    with pytest.raises(UnknownAttribute):
        await searched.count("Nobody = 'x'")


async def stored(searched, record):
    keys = await searched.strongroom.keyring.open(searched.namespace_id)
    return await searched.strongroom.visibility.get_workflow_execution(
        searched.namespace_id,
        shard_id=shard_of(keys, record.workflow_id, searched.strongroom.config.cell.shard_count),
        workflow_id=record.workflow_id,
        run_id=record.run_id,
    )


async def test_an_older_version_never_overwrites_a_newer_one(small):
    """Writes that arrive late, twice or out of order leave the newest record, and its tokens, alone."""
    old = next(iter(small.records.values()))
    new = changed(old, search_attributes=MappingProxyType({"Customer": "the newest"}))
    write = (small.strongroom, small.namespace_id)
    assert await record_all(*write, [new], small.types, version=5) == 1
    for version in (1, 4, 5):
        assert await record_all(*write, [old], small.types, version=version) == 0
        assert await stored(small, old) == new
    assert new in await small.listed("Customer = 'the newest' AND TemporalNamespaceDivision IS NULL", page_size=100)
    assert await record_all(*write, [old], small.types, version=6) == 1
    assert await stored(small, old) == old
    assert await small.listed("Customer = 'the newest'", page_size=100) == []


async def test_of_many_versions_at_once_the_newest_stays(small):
    """Writers that race, and one write that holds several versions, end with the newest."""
    old = next(iter(small.records.values()))
    versions = {version: changed(old, memo=b"version %d" % version) for version in range(2, 22)}
    order = list(versions)
    generator().shuffle(order)
    await asyncio.gather(
        *(
            record_all(small.strongroom, small.namespace_id, [versions[version]], small.types, version=version)
            for version in order
        )
    )
    assert await stored(small, old) == versions[21]
    keys = await small.strongroom.keyring.open(small.namespace_id)
    shard_id = shard_of(keys, old.workflow_id, small.strongroom.config.cell.shard_count)
    several = [(shard_id, version, changed(old, memo=b"%d" % version)) for version in (30, 32, 31)]
    await small.strongroom.visibility.record_workflow_executions(small.namespace_id, several, small.types)
    assert (await stored(small, old)).memo == b"32"


async def test_edited_tokens_never_give_a_wrong_row(small):
    """Edited tokens can hide a row from a list, but never bring in one that does not match."""
    edits = {
        "those of all others": "UPDATE visibility_records SET t = (SELECT array_agg(DISTINCT x) "
        "FROM visibility_records o, unnest(o.t) x)",
        "none": "UPDATE visibility_records SET t = '{}'",
        "one for all": "UPDATE visibility_records SET t = (SELECT t FROM visibility_records ORDER BY id LIMIT 1)",
        "one type and status for all": "UPDATE visibility_records SET (h_type, h_status, h_workflow) = "
        "(SELECT h_type, h_status, h_workflow FROM visibility_records ORDER BY id LIMIT 1)",
        "divisions for all": "UPDATE visibility_records SET h_division = 5 WHERE b2 % 2 = 0",
        "no columns": "UPDATE visibility_records SET (h_workflow, h_run, h_type, h_status, h_queue, h_division) = "
        "(NULL, NULL, NULL, NULL, NULL, NULL)",
    }
    rng = generator()
    queries = [*(random_filter(rng) for _ in range(40)), *(condition(rng) for _ in range(60))]
    brought_in = 0
    for edit in edits.values():
        await run(small.strongroom, edit)
        for query in queries:
            expected = small.expected(query)
            listed = await small.listed(query, page_size=7)
            assert [record for record in expected if record in listed] == listed, query
            candidates = await wrong_sides(small, query, compile_filter)
            brought_in += bool(candidates)
    assert brought_in > 0, "the edited index did answer wrongly, and the list did not"


EDITS = {
    "b1": "b1 = b1 - 1",
    "b2": "b2 = b2 - 1",
    "k": "k = k + 1",
    "version": "version = version + 1",
    "id": "id = decode(md5(id::text), 'hex')",
    "shard_id": "shard_id = shard_id + 1",
    "s": "s = set_bit(s, 500, 1 - get_bit(s, 500))",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
@pytest.mark.parametrize("which", ["open", "closed"])
async def test_an_edited_column_is_noticed(small, edit, which):
    """The clear columns of a sealed record can't be changed: a list that meets the row is refused."""
    query = "CloseTime IS NULL OR CloseTime IS NOT NULL"
    side = "=" if which == "open" else "<>"
    victim = f"(SELECT id FROM visibility_records WHERE b1 {side} {2**62} ORDER BY id LIMIT 1)"  # noqa: S608
    # no division: every row is a candidate
    await run(small.strongroom, "UPDATE visibility_records SET t = '{}', h_division = NULL")
    assert await small.listed(query, page_size=5) == small.expected(query)
    assert await run(small.strongroom, f"UPDATE visibility_records SET {edit} WHERE id = {victim}") == "UPDATE 1"  # noqa: S608
    with pytest.raises(IntegrityError):
        await small.listed(query, page_size=1000)


async def test_swapped_records_do_not_open(small):
    """The sealed records of two rows, swapped, open in neither place: neither by a list nor by id."""
    left, right = list(small.records.values())[:2]
    keys = await small.strongroom.keyring.open(small.namespace_id)
    ids = [document_id(keys, record.workflow_id, record.run_id) for record in (left, right)]
    swap = (
        "UPDATE visibility_records a SET s = b.s FROM visibility_records b "
        "WHERE (a.id, b.id) IN (($1::bytea, $2::bytea), ($2, $1))"
    )
    assert await run(small.strongroom, swap, *ids) == "UPDATE 2"
    for record in (left, right):
        with pytest.raises(IntegrityError):
            await stored(small, record)
    await run(small.strongroom, swap, *ids)
    assert [await stored(small, record) for record in (left, right)] == [left, right]


async def test_a_row_moved_to_another_namespace_does_not_open(strongroom, small):
    """A record is bound to its namespace, though ids and tokens of the row go with it."""
    other = await populated(strongroom, "other", [], [])
    assert other.namespace_id != small.namespace_id
    await run(
        strongroom, "UPDATE visibility_records SET namespace_id = $1, t = '{}', h_division = NULL", other.namespace_id
    )
    with pytest.raises(IntegrityError):
        await other.listed("", page_size=10)


async def test_a_run_that_is_not_there_is_not_found(small):
    """No record is made up, and none of another run is given."""
    record = next(iter(small.records.values()))
    for other in (changed(record, run_id=str(uuid4())), changed(record, workflow_id="nobody")):
        with pytest.raises(NotFound):
            await stored(small, other)


WRONG: dict[str, dict[str, Any]] = {
    "unregistered": {"Nobody": "x"},
    "reserved": {"NamespaceId": "x"},
    "system": {"WorkflowId": "x"},
    "number for a Keyword": {"Customer": 1},
    "list for a Keyword": {"Customer": ("x",)},
    "text for a KeywordList": {"Labels": "x"},
    "numbers in a KeywordList": {"Labels": (1,)},
    "number for a Text": {"Notes": 1},
    "text for an Int": {"Pieces": "1"},
    "Double for an Int": {"Pieces": 1.0},
    "Bool for an Int": {"Pieces": True},
    "Int beyond 64 bits": {"Pieces": 2**63},
    "Int below 64 bits": {"Pieces": -(2**63) - 1},
    "infinite Double": {"Price": float("inf")},
    "no number": {"Price": float("nan")},
    "Bool for a Double": {"Price": True},
    "number for a Bool": {"Paid": 1},
    "text for a Datetime": {"Due": "2026-11-23T00:00:00Z"},
    "Datetime beyond 64 bits": {"Due": 2**63},
    "nothing": {"Customer": None},
    "wrong predefined": {"BuildIds": "x"},
}


async def test_a_closed_status_needs_a_close_time(small):
    """The index keeps open runs first, and looks for what closed behind them: a closed run among the open would not be found."""
    bad = opened_again(generated_record(generator()))._replace(execution_status="Completed")
    with pytest.raises(InvalidRecord, match="needs a close_time"):
        await record_all(small.strongroom, small.namespace_id, [bad], small.types)
    assert (await small.count("")).count == len(small.expected(""))


@pytest.mark.parametrize("name", OF_CLOSED_RUNS[1:])
async def test_what_closed_runs_alone_have_needs_a_close_time(small, name):
    """A condition on it is looked for among closed runs alone, so an open one that had it would not be found."""
    bad = opened_again(generated_record(generator()))._replace(**{name: 5})
    with pytest.raises(InvalidRecord, match="without close_time"):
        await record_all(small.strongroom, small.namespace_id, [bad], small.types)
    assert (await small.count("")).count == len(small.expected(""))


@pytest.mark.parametrize("attributes", WRONG.values(), ids=WRONG.keys())
async def test_a_record_that_does_not_fit_is_refused(small, attributes):
    """A value that is not of its attribute's type, or of no registered one, is refused with all that came with it."""
    good, bad = generated_record(generator()), generated_record(generator())
    bad = changed(bad, search_attributes=MappingProxyType(attributes))
    with pytest.raises(InvalidRecord) as caught:
        await record_all(small.strongroom, small.namespace_id, [good, bad], small.types)
    assert not any(
        str(value) in str(caught.value) for value in attributes.values() if isinstance(value, str) and len(value) > 1
    )
    assert (await small.count("")).count == len(small.expected(""))
    with pytest.raises(NotFound):
        await stored(small, good)


async def test_namespaces_share_no_token_and_no_answer(strongroom):
    """The same records in two namespaces have no token in common, and each is found in its own namespace only."""
    rng = generator()
    records = [generated_record(rng) for _ in range(20)]
    left = await populated(strongroom, "left", [], records)
    right = await populated(strongroom, "right", [], [changed(record, memo=b"right") for record in records])
    held = []
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        for each in (left, right):
            rows = await connection.fetch("SELECT * FROM visibility_records WHERE namespace_id = $1", each.namespace_id)
            assert len(rows) == len(records)
            held.append(({row["id"] for row in rows}, {token for row in rows for token in all_tokens(row)}))
    (left_ids, left_tokens), (right_ids, right_tokens) = held
    assert left_ids.isdisjoint(right_ids)
    assert len(left_tokens) == len(right_tokens) > 0
    assert left_tokens.isdisjoint(right_tokens)
    for query in ("", *(random_filter(rng) for _ in range(30))):
        for each in (left, right):
            assert await each.listed(query, page_size=50) == each.expected(query), query
            assert (await each.count(query)).count == len(each.expected(query)), query


async def test_attributes_of_one_value_share_no_token(strongroom):
    """One value in two attributes gives different tokens: the index does not show that they agree."""
    record = changed(
        generated_record(generator()),
        workflow_type="the same value",
        task_queue="the same value",
        search_attributes=MappingProxyType({"Customer": "the same value", "Größe": "the same value"}),
    )
    searched = await populated(strongroom, "values", [], [record])
    keys = await strongroom.keyring.open(searched.namespace_id)
    tokenizer = Tokenizer(keys, epoch=keys.active_version(KeyClass.INDEX))
    tokens = [
        tokenizer.query(name, [b"=the same value"]) for name in ("WorkflowType", "TaskQueue", "Customer", "Größe")
    ]
    assert len(frozenset().union(*tokens)) == 4
    async with strongroom.database.connection(EVERY_NAMESPACE) as connection:
        row = await connection.fetchrow("SELECT * FROM visibility_records")
    assert frozenset().union(*tokens) <= set(all_tokens(row))
    assert row["t"] == sorted(row["t"])
    assert all_tokens(row) == sorted(all_tokens(row))
