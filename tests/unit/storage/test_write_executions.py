"""The binding of `write_executions`: its columns, rules and refusals are those of the SQL function."""

from __future__ import annotations

import re
from dataclasses import fields
from importlib.resources import files
from operator import attrgetter
from uuid import uuid4

import pytest

from strongroom.storage.engine.functions import load_functions
from strongroom.storage.executions.binding import (
    GROUPS,
    CurrentRule,
    Refusal,
    RunRule,
    WriteExecutions,
    WriteExecutionsColumns,
    argument_path,
)
from strongroom.storage.histories.rows import HistoryColumns
from strongroom.storage.visibility_rows.records import HASHED_COLUMNS

SQL = (files("strongroom.storage") / "sql/executions/functions/write_executions.sql").read_text(encoding="utf-8")


def declared():
    """Return the path of every column that Python declares."""
    paths = {"shard", "outbox", "writer"}
    for group in fields(WriteExecutionsColumns):
        if group.name == "history":
            of_the_journal = {"n_place", "t_place"}  # ids as bytes, which no parameter has
            paths |= {f"history.{name}" for name in HistoryColumns.__slots__ if name not in of_the_journal}
        elif group.name not in paths:
            paths |= {f"{group.name}.{column.name}" for column in fields(group.default_factory)}
    return paths


@pytest.mark.parametrize("distributed", [False, True])
def test_python_and_sql_name_the_same_columns(distributed):
    """Each parameter of the function is a column, each column is a parameter, and no two parameters are one column."""
    names = load_functions(distributed=distributed)["write_executions"].names
    paths = [argument_path(name) for name in names]
    assert len(set(paths)) == len(names)
    assert set(paths) == declared()
    assert set(GROUPS) == {name[0] for name in names}


class Recorder:
    """A connection that keeps the arguments of its last statement."""

    async def fetch(self, _, *arguments, **__):
        """Run a query."""
        self.arguments = arguments
        return []


async def test_each_argument_is_passed_as_the_parameter_of_its_name():
    """With another value in every column, each value arrives in the place of its own parameter."""
    function = load_functions(distributed=False)["write_executions"]
    writer = uuid4()
    columns = WriteExecutionsColumns(shard=1, outbox=True, writer=writer)
    expected = {"p_shard": 1, "p_outbox": True, "p_writer": writer}
    for number, name in enumerate(function.names[3:]):
        column = attrgetter(argument_path(name))(columns)
        column.append(number)
        expected[name] = f"{{{number}}}" if "int" in function.types[number + 3] else type(column)([number])
    connection = Recorder()
    await WriteExecutions(distributed=False, timeout=1).call(connection, columns)
    assert dict(zip(function.names, connection.arguments, strict=True)) == expected


def test_a_parameter_without_a_group_is_refused():
    """A new parameter needs a column."""
    with pytest.raises(AssertionError, match="no group"):
        argument_path("parameter")
    with pytest.raises(KeyError):
        argument_path("q_request")


@pytest.mark.parametrize(
    ("codes", "comment"),
    [
        (Refusal, r"-- (reason 0: .*?)\nCREATE"),
        (CurrentRule, r"c_rule smallint\[\],\s+-- (.*?); 4 writes nothing\n"),
        (RunRule, r"x_rule smallint\[\],\s+-- (.*?)\n"),
    ],
)
def test_the_codes_are_those_that_the_function_documents(codes, comment):
    """Each number that the SQL file explains is a member, and each member is explained."""
    text = re.search(comment, SQL, re.DOTALL)[1]
    assert [int(number) for number in re.findall(r"(?:^|[;,\n] ?|reason |-- )(\d) ?:? ?[a-z]", text)] == list(codes)


def test_hashed_columns_are_in_the_order_of_a_visibility_row():
    """`VisibilityRow.hashes` has no names of its own."""
    declared_order = [column.name for column in fields(type(WriteExecutionsColumns(shard=0, outbox=False).visibility))]
    assert tuple(name for name in declared_order if name.startswith("h_")) == HASHED_COLUMNS
