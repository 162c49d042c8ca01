from __future__ import annotations

import ast
import asyncio
import re
from uuid import uuid4

import pytest

from strongroom.storage.engine.functions import load_functions
from strongroom.storage.engine.queries import confined, load_queries
from strongroom.storage.keys.reseal_rows import write_statement
from strongroom.storage.keys.sealed_columns import sealed_columns
from strongroom.storage.keys.sealed_pages import OLDER, USING, page_statement
from strongroom.storage.namespaces.purge import PURGED_TABLES
from strongroom.storage.schema.citus import distribution_statements
from strongroom.storage.schema.tables import TABLES as DESCRIPTORS
from strongroom.visibility.backends.postgres import PostgresReader
from strongroom.visibility.backends.postgres_lists import Page, listed_set, looked_up, walked
from strongroom.visibility.backends.postgres_query import Records
from strongroom.visibility.backends.search_index import LIST_ORDER, IndexPosition
from strongroom.visibility.backends.token_query import AnyOf, Bucket, Not, all_of
from tests.support.confinement import faults, faults_of_function
from tests.support.on_nodes import faults_on_nodes
from tests.support.tree import ROOT

IN_FUNCTIONS = sorted(load_functions(distributed=True))
TABLES = frozenset(table.name for table in DESCRIPTORS)
STATEMENT = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM)\s")
WORD = re.compile(r"\w+")

# Statements that go to more than one shard by design, with the reason.
EVERYWHERE = {
    "histories/histories.list_trees": "get_all_history_tree_branches: a scavenger reads the whole cell",
    "matching/tasks.list": "list_task_queue: a scavenger reads the whole cell",
    "matching/tasks.list_after": "as matching/tasks.list",
    "visibility_rows/outbox.add": "a page of runs of many shards; Citus sends each row where it belongs",
    "visibility_rows/outbox.records": "a build of the search index reads the whole cell",
    "visibility_rows/outbox.take_on_nodes": "an indexer serves the whole cell",
    "visibility_rows/truth.page_on_nodes": "a comparison of the search index with the records reads the whole cell",
    "visibility_rows/truth.again": "as visibility_rows/truth.page_on_nodes",
    "visibility_rows/truth.deletions": "as visibility_rows/truth.page_on_nodes",
    "visibility_rows/truth.owned": "as visibility_rows/truth.page_on_nodes; a document does not say its shard",
    "visibility_rows/truth.waiting": "as visibility_rows/truth.owned",
    "visibility_rows/epochs.count": "a rotation of the index key goes through all shards of a namespace",
    "visibility_rows/epochs.page": "as visibility_rows/epochs.count",
    "visibility_rows/epochs.whole": "as visibility_rows/epochs.count",
    "visibility_rows/outbox.waiting": "as visibility_rows/outbox.take_on_nodes",
    "visibility_rows/outbox.refused": "as visibility_rows/outbox.take_on_nodes",
    "visibility_rows/outbox.old_deletes": "as visibility_rows/outbox.take_on_nodes",
    "journal/journal.write": "the entries of a transaction may be of several shards; Citus sends each row where it belongs",
    "cell/damaged_rows.keep": "rows of several queues that do not open are kept aside together",
    "cell/damaged_rows.list": "an operator lists the damaged rows of the whole cell",
    "cell/damaged_rows.counts": "as cell/damaged_rows.list",
    "cell/damaged_rows.forget": "as cell/damaged_rows.list",
    "journal/journal.with_entries": "a process folds what others have left behind, in all shards",
    "journal/journal.numbers": "an anchor has the positions of all shards; a verification takes a snapshot of each node",
    "journal/journal.sums_of": "as journal/journal.numbers",
    "journal/journal.lock_sums_of": "a process folds several shards together on a single server, and one by one on a cluster",
    "journal/journal.entries_of": "as journal/journal.lock_sums_of",
    "journal/journal.put_sums_of": "as journal/journal.lock_sums_of",
    "journal/journal.delete_entries_of": "as journal/journal.lock_sums_of",
    "journal/journal.waiting": "the doctor counts all entries",
    "journal/journal.stop_writes": "accepting a restore stops all writes, and so does the last try of a verification",
    "visibility.count": "a filter asks for the runs of all shards",
    "visibility.pages": "as visibility.count; merged in order by the coordinator",
    "visibility.pages, next": "as visibility.pages",
    "visibility.count_and_first": "as visibility.count",
    "visibility.count, many tokens": "as visibility.count",
    "visibility.walk": "as visibility.pages",
    "visibility.look-up": "as visibility.pages",
    "visibility.groups": "as visibility.count",
    "visibility.of_groups": "as visibility.count",
    "visibility.of_groups, rows": "one run of each group, of any shards",
    "driver/demo/proofs.py": "the demonstration has a PostgreSQL of its own, and tampers with any row",
    "driver/demo/views.py": "as proofs.py: shows a stored row",
    "driver/demo/plaintext_copy.py": "as proofs.py: tables of plaintext with the same names, in another database",
} | {
    f"{name}({table.name})": why
    for table in PURGED_TABLES
    for name, why in (
        ("schema/partitions.of_namespace", "a purge finds the partitions of a namespace before it deletes from each"),
        ("namespaces/purge.count", "the rows that a shredding of a namespace will delete"),
    )
}
ELSEWHERE = {
    # An entry is in the shard of its group of task queues, so that a statement for many queues has few entries.
    "create_tasks": ["inserts rows of any shard_id into journal"]
}
"""What functions do in another shard than the one that they are called for."""
COLUMNS = {str(column): column for column in sealed_columns()}
EVERYWHERE |= {
    f"reseal.of_table({name})": "resealing reads all rows of a table whose key does not continue with the namespace"
    for name, column in COLUMNS.items()
    if column.table.partition_column and not column.table.is_keyed_by_namespace
}
# Statements for one server only. On a cluster `purge_namespace`, `Reseal`, `put_visibility_records`, `VisibilityOutbox` and
# `VisibilityTruth` use others.
ON_ONE_SERVER = (
    {"visibility_rows/records.put", "visibility_rows/outbox.take", "visibility_rows/truth.page"}
    | {
        f"{name}({table.name})"
        for table in PURGED_TABLES
        for name in ("schema/partitions.next", "namespaces/purge.delete_by_key", "namespaces/purge.delete_by_namespace")
    }
    | {
        f"reseal.{source}({name})"
        for name, column in COLUMNS.items()
        for source in ("of_partitions", "write on one server")
        if column.table.partition_column and (column.table.is_keyed_by_namespace or source != "of_partitions")
    }
)


def plain_statements():
    """Return all statements outside of functions by name: of SQL files, of visibility and of Python."""
    found = {}
    folder = ROOT / "storage" / "sql"
    for entry in folder.glob("*/*.sql"):
        store = str(entry.relative_to(folder).with_suffix(""))
        for name, statement in load_queries(store).items():
            if (store == "keys/reseal" and "{" in statement) or store == "schema/policies":
                continue
            if "{table}" not in statement:
                found[f"{store}.{name}"] = [statement]
                continue
            for table in PURGED_TABLES:
                sent = statement.format(table=table.name, partition=table.partition_column, returning="")
                found[f"{store}.{name}({table.name})"] = [sent]
    return found | of_reseal() | asyncio.run(of_visibility()) | statements_in_python()


def of_reseal():
    """Return the statements that resealing composes: each source of a page in all its forms, and both ways to write."""
    found = {}
    for name, column in COLUMNS.items():
        for source in ("of_partitions", "of_partition") if column.table.is_keyed_by_namespace else ("of_table",):
            found[f"reseal.{source}({name})"] = [
                page_statement(column, source, wanted=wanted, counted=counted, continued=continued)
                for wanted in (OLDER, USING)
                for counted in (False, True)
                for continued in (False, True)[: 1 if source == "of_partitions" else 2]
            ]
        for alone in (False, True)[: 2 if column.table.partition_column else 1]:
            found[f"reseal.write{'' if alone else ' on one server'}({name})"] = [
                write_statement(column, waits=waits, confined=alone) for waits in (False, True)
            ]
    return found


async def of_visibility(records=Records("visibility_records", is_distributed=True)):  # noqa: B008 - of a tuple
    """Return the statements that visibility composes for a table, with every kind of condition."""
    sent = []

    class Listening:
        async def fetchrow(self, statement, *_):
            sent.append(statement)

        async def fetch(self, statement, *_):
            sent.append(statement)
            if "GROUP BY" in statement:
                return [{"token": 1, "documents": 1, "all_documents": 1, "named": f"{'0' * 32}7"}]
            return [{"shard_id": 7, "b1": 1, "b2": 1, "id": bytes(16), "documents": 0}] * 200 if len(sent) != 3 else []

    query = all_of(AnyOf(frozenset({1})), Bucket("b1", 1, 2), Not(AnyOf(frozenset({2}))))
    reader = PostgresReader(Listening(), uuid4(), records)
    await reader.count(query)
    _ = [rows async for rows in reader.pages(query, start=IndexPosition((1, 1)))]
    await reader.count_and_first(query, query, limit=200)
    await reader.groups(query, 1, having=query, most=5)
    await reader.of_groups(query, 1, {1})
    many = AnyOf(frozenset(range(400)))
    await reader.count(all_of(many, Not(many)))
    names = (
        *("visibility.count", "visibility.pages", "visibility.pages, next", "visibility.count_and_first"),
        *("visibility.groups", "visibility.of_groups", "visibility.of_groups, rows", "visibility.count, many tokens"),
    )
    page, listed = Page(records, uuid4(), LIST_ORDER, IndexPosition((1, 1)), 200), listed_set(many)
    sent += [walked(listed, page, 400)[0], looked_up(many, many.tokens, page, 400)[0]]
    return {name: [text] for name, text in zip((*names, "visibility.walk", "visibility.look-up"), sent, strict=True)}


def statements_in_python():
    """Return the string literals that begin like a statement and name a table, by file."""
    found = {}
    for package in ("storage", "visibility", "driver"):
        for entry in (ROOT / package).rglob("*.py"):
            texts = literals(ast.parse(entry.read_text(encoding="utf-8")))
            if several := [
                text for text in texts if STATEMENT.match(text) and not TABLES.isdisjoint(WORD.findall(text))
            ]:
                found[str(entry.relative_to(ROOT))] = several
    return found


def literals(node):
    """Yield the texts in a piece of Python, with a name in place of each formatted value."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from literals(child)


PLAIN = plain_statements()
CONFINED = {
    name: statements for name, statements in PLAIN.items() if any("/* confined:" in text for text in statements)
}
"""The statements that are sent once for each shard on a cluster, with the shard as the last parameter; see `fetch_by_shard`."""
PARAMETER = re.compile(r"\$([0-9]+)")
SHARD = re.compile(r"(?:WHERE|AND) [a-z]\.shard_id = \$([0-9]+)")


def misplaced(statement):
    """Return the conditions in comments that do not compare a table with the parameter after the last one of the statement."""
    plain = re.sub(r"/\* confined: .*? \*/", "", statement)
    shard = str(max(int(number) for number in PARAMETER.findall(plain)) + 1)
    conditions = re.findall(r"/\* confined: (.*?) \*/", statement)
    return [each for each in conditions if (found := SHARD.fullmatch(each)) is None or found[1] != shard]


def faults_of(statements):
    """Return the faults of all statements of a name, in the form that a cluster gets."""
    return [fault for statement in statements for fault in faults(confined(statement))]


@pytest.mark.parametrize("name", IN_FUNCTIONS)
def test_each_statement_of_a_function_stays_in_the_shard_that_it_is_called_for(name):
    """Citus plans it for one node, and a wrong row does not touch another shard."""
    function = load_functions(distributed=True)[name]
    assert faults_of_function(function.sql) == ELSEWHERE.get(name, [])
    assert "p_shard integer" in function.sql
    assert function.types[0] == "integer"


def test_only_statements_that_are_listed_here_leave_their_shard():
    """Exactly the listed statements go to all nodes."""
    assert {name for name, statements in PLAIN.items() if faults_of(statements)} - ON_ONE_SERVER == set(EVERYWHERE)
    assert set(PLAIN) >= ON_ONE_SERVER


@pytest.mark.parametrize("name", sorted(EVERYWHERE))
def test_the_nodes_run_each_statement_of_all_shards(name):
    """Citus neither refuses it, nor copies a table to one node."""
    assert [fault for text in PLAIN[name] for fault in faults_on_nodes(confined(text))] == []


async def test_searches_of_one_server_are_caught():
    """The control: they join tokens with the records. So are the other statements for one server that read all shards."""
    for name, (text,) in (await of_visibility(Records("visibility_records"))).items():
        is_joined = name in {"visibility.count, many tokens", "visibility.look-up"}
        assert set(faults_on_nodes(text)) == (
            {"visibility_records is copied for an outer join"} if is_joined else set()
        ), name
    for name in ("visibility_rows/outbox.take", "visibility_rows/truth.page"):
        (text,) = PLAIN[name]
        assert faults_on_nodes(text), name


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("SELECT FROM unnest($1) AS u LEFT JOIN shards AS s ON true", ["shards is copied for an outer join"]),
        ("SELECT FROM shards AS s RIGHT JOIN unnest($1) AS u ON true", ["shards is copied for an outer join"]),
        (
            "SELECT FROM (SELECT * FROM tasks LIMIT 1) AS t LEFT JOIN shards AS s ON true",
            ["shards is copied for an outer join"],
        ),
        ("SELECT FROM tasks AS t LEFT JOIN task_queues AS q ON q.range_hash = t.range_hash", []),
        (
            "SELECT FROM unnest($1) AS u JOIN shards AS s ON true LEFT JOIN executions AS e ON e.shard_id = s.shard_id",
            [],
        ),
        ("SELECT count(*) FROM (SELECT FROM shards LIMIT 5) AS l", ["shards in a sub-query without columns"]),
        ("SELECT 1 FROM (SELECT) AS one WHERE EXISTS (SELECT FROM shards)", []),
        (
            "SELECT u FROM unnest($1) AS u (n) WHERE EXISTS (SELECT FROM shards AS s WHERE s.range_id = u.n)",
            ["shards in a correlated sub-query"],
        ),
        (
            "SELECT (SELECT s.data FROM shards AS s WHERE s.range_id = u.n) FROM unnest($1) AS u (n)",
            ["shards in a correlated sub-query"],
        ),
        ("SELECT e.data FROM executions AS e WHERE EXISTS (SELECT FROM shards AS s WHERE s.shard_id = e.shard_id)", []),
    ],
)
def test_what_does_not_run_on_the_nodes_is_caught(statement, found):
    """The other control: each form that failed on a cluster is caught, and its neighbours that ran there are not."""
    assert faults_on_nodes(statement) == found


@pytest.mark.parametrize("name", CONFINED)
def test_a_statement_that_is_sent_for_each_shard_is_confined_by_its_last_parameter(name):
    """On a cluster its comments become conditions with the shard, which the caller appends. The control is the form of one server."""
    for statement in CONFINED[name]:
        assert faults(confined(statement)) == []
        assert misplaced(statement) == []
        assert faults(statement)


def test_the_statements_that_are_sent_for_each_shard_are_these():
    """A check of none would pass."""
    assert sorted(name.partition("/")[2] for name in CONFINED) == [
        *("epochs.rewrite", "outbox.again", "outbox.created_again", "outbox.done", "outbox.forget_deletes"),
        "outbox.set_aside",
    ]


@pytest.mark.parametrize("condition", ["AND o.shard_id = $1", "AND o.shard_id = $3", "AND o.shard_id > $2", "AND true"])
def test_a_condition_with_another_parameter_is_caught(condition):
    """The control: the shard is not a parameter of the statement, not one too far, and it is compared."""
    statement = f"SELECT FROM visibility_outbox AS o WHERE o.id = $1 /* confined: {condition} */"
    assert misplaced(statement) == [condition]
    assert misplaced(statement.replace(condition, "AND o.shard_id = $2")) == []


def test_statements_were_found_in_each_place():
    """The check covers many statements, because a check of none would pass."""
    assert {
        "executions/shards.get",
        "executions/store.delete",
        "storage/schema/schema.py",
        "visibility.pages, next",
    } <= set(PLAIN)
    assert len(PLAIN) > 100
    assert sum(len(statements) for statements in PLAIN.values()) > len(PLAIN)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("SELECT 1 FROM executions WHERE run_id = $1", "executions AS executions without shard_id"),
        ("SELECT 1 FROM executions e JOIN shards s ON true WHERE e.shard_id = $1", "shards AS s without shard_id"),
        ("SELECT 1 FROM executions e, shards s WHERE e.shard_id = $1", "shards AS s without shard_id"),
        (
            "SELECT 1 FROM executions e, shards s WHERE shard_id = $1 AND e.shard_id = $1",
            "shards AS s without shard_id",
        ),
        (
            "SELECT 1 FROM executions e LEFT JOIN shards s ON e.shard_id = $1 AND s.shard_id = $1",
            "executions AS e without shard_id",
        ),
        ("SELECT 1 FROM shards WHERE shard_id = $1 OR range_id = $2", "shards AS shards without shard_id"),
        ("SELECT 1 FROM shards WHERE NOT shard_id = $1", "shards AS shards without shard_id"),
        ("SELECT 1 FROM shards WHERE shard_id > $1", "shards AS shards without shard_id"),
        ("SELECT 1 FROM shards WHERE shard_id = range_id", "shards AS shards without shard_id"),
        ("SELECT 1 FROM shards WHERE range_id = $1 AND shard_id = ANY ($2)", "shards AS shards without shard_id"),
        ("SELECT 1 FROM shards WHERE shard_id = $1 UNION SELECT 1 FROM shards", "shards AS shards without shard_id"),
        (
            "SELECT (SELECT count(*) FROM tasks t WHERE t.range_hash = q.range_hash) FROM task_queues q WHERE q.range_hash = $1",
            "tasks AS t without range_hash",
        ),
        ("SELECT 1 WHERE EXISTS (SELECT FROM queues)", "queues AS queues without queue_type"),
        ("WITH q AS (SELECT FROM queues) SELECT FROM q", "queues AS queues without queue_type"),
        (
            "WITH a AS (INSERT INTO shards (shard_id) VALUES ($1)) SELECT 1",
            "an INSERT into shards in a common table expression",
        ),
        (
            "WITH RECURSIVE a AS (SELECT range_id FROM shards WHERE shard_id = $1 UNION SELECT * FROM a) SELECT * FROM a",
            "a recursive query of a distributed table",
        ),
        ("UPDATE shards SET range_id = 1", "shards AS shards without shard_id"),
        ("UPDATE shards SET shard_id = 1 WHERE shard_id = $1", "sets shard_id of shards"),
        ("DELETE FROM shards USING executions e WHERE shards.shard_id = $1", "executions AS e without shard_id"),
        ("INSERT INTO shards VALUES ($1, 1, '')", "inserts into shards without naming shard_id"),
        ("INSERT INTO shards (shard_id) VALUES (1)", "inserts rows of any shard_id into shards"),
        (
            "INSERT INTO shards (range_id, shard_id) SELECT $1, s FROM unnest($2::integer[]) s",
            "inserts rows of any shard_id into shards",
        ),
        (
            "INSERT INTO shards (shard_id) VALUES ($1) ON CONFLICT (shard_id) DO UPDATE SET shard_id = 1",
            "sets shard_id of shards",
        ),
        (
            "INSERT INTO shards (shard_id) VALUES ($1) ON CONFLICT (shard_id) DO UPDATE SET data = f(greatest(1, 2))",
            "calls f in DO UPDATE of shards",
        ),
        ("MERGE INTO shards USING cell ON true WHEN MATCHED THEN DELETE", "a statement of another kind: MergeStmt"),
        ("TRUNCATE shards", "a statement of another kind: TruncateStmt"),
    ],
)
def test_a_statement_that_leaves_its_shard_is_caught(statement, fault):
    """The control: each way to leave out the shard is caught."""
    assert faults(statement) == [fault]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 1 FROM shards WHERE shard_id = $1 AND range_id = 2 FOR SHARE",
        "SELECT 1 FROM executions e LEFT JOIN shards s ON s.shard_id = $1 WHERE $1::integer = e.shard_id",
        "INSERT INTO shards (range_id, shard_id) SELECT 1, s FROM unnest($1::integer[]) s WHERE s = $2",
        "WITH d AS (DELETE FROM executions WHERE shard_id = $1) DELETE FROM shards WHERE shard_id = $1",
        "SELECT * FROM namespaces JOIN cell ON true",
    ],
)
def test_a_statement_that_stays_in_its_shard_is_not(statement):
    """The other control: a correct statement is accepted."""
    assert faults(statement) == []


@pytest.mark.parametrize(
    "name",
    [
        *("append_history_nodes", "create_tasks", "get_current_executions", "get_executions", "get_tasks"),
        "write_executions",
    ],
)
def test_the_other_form_of_a_function_is_caught(name):
    """The control for functions: without the conditions in comments they are not confined."""
    assert faults_of_function(load_functions(distributed=False)[name].sql)


def test_a_statement_that_a_function_puts_together_is_caught():
    """A statement that a function composes at run time can't be checked."""
    text = "CREATE FUNCTION f(p_shard integer) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT 1'; END $$"
    assert faults_of_function(text) == ["a statement that is put together at run time"]


def test_a_function_finds_its_tables_on_any_node():
    """A session of Citus on a node does not have our search_path, so a function names the schema of each table."""
    forms = [{function.name for function in load_functions(distributed=form).values()} for form in (False, True)]
    assert not forms[0] & forms[1]
    named = re.compile(rf"\b(?:FROM|JOIN|INTO|UPDATE|ONLY)\s+(?:{'|'.join(table.name for table in DESCRIPTORS)})\b")
    assert named.search("DELETE FROM tasks")
    for form in (False, True):
        for function in load_functions(distributed=form).values():
            assert not named.search(function.sql)


def test_each_table_is_emptied_on_the_coordinator_after_it_was_copied():
    """Otherwise rows would stay on the coordinator where no statement reaches them. Tables of the whole cell are left there."""
    statements = distribution_statements()
    for table in DESCRIPTORS:
        call = f"create_distributed_table('strongroom.{table.name}'"
        made = [number for number, text in enumerate(statements) if call in text]
        assert len(made) == (table.partition_column is not None)
        for number in made:
            assert (
                statements[number + 1]
                == f"SELECT truncate_local_data_after_distributing_table('strongroom.{table.name}')"
            )


def test_a_policy_on_a_node_has_no_sub_select():
    """Citus distributes no table whose policy has a sub-select."""
    policies = [
        text for text in distribution_statements() if text.startswith("CREATE POLICY") or "CREATE POLICY" in text
    ]
    assert len(policies) == sum(table.namespaced and table.partition_column is not None for table in DESCRIPTORS)
    for text in policies:
        assert "SELECT" not in text.partition("USING")[2]
