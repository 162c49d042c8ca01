"""The database function `write_executions`: its columns, its call and its refusals.

The parameters of the function are arrays. Each begins with the letter of its group: `x_next_event` is the column `next_event` of the
runs. The columns are declared here by the same names, and a call takes its arguments by name, in the order of the function's own
declaration. So no two arguments can be swapped. A parameter without a column is an error when the store is made.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import IntEnum
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.storage.engine.functions import load_functions
from strongroom.storage.fences import ALTERED
from strongroom.storage.histories.rows import HistoryColumns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.storage.column_sealer import Column
    from strongroom.storage.engine.connection import Connection, Row

_DIGEST = Struct(">i32s")
RUN_MACS_BYTES, CURRENT_MACS_BYTES = 80, 96
"""The bytes of a row in `RunColumns.macs` and in `CurrentColumns.macs`. The last 16 are the tag of the row that is replaced."""


class CurrentRule(IntEnum):
    """What a request expects of the workflow's current run: the values of `c_rule`."""

    ABSENT_OR_EXPECTED = 1
    EXPECTED_AND_COMPLETED = 2
    EXPECTED = 3
    NOT_EXPECTED = 4


class RunRule(IntEnum):
    """What happens to a run: the values of `x_rule`."""

    INSERT = 1
    UPDATE = 2
    REPLACE = 3


class Refusal(IntEnum):
    """Why a request was refused: the values of the result's `reason`."""

    NONE = 0
    """The request was written. The row has the current run that `CurrentRule.NOT_EXPECTED` passed."""
    SHARD_OWNERSHIP_LOST = 1
    CURRENT_RUN_MISMATCH = 2
    RUN_VERSION_MISMATCH = 3
    RUN_NOT_FOUND = 4
    ALTERED = ALTERED
    STALE = 6
    """The row of the run, or of the current run, is not the one that the writer knows. Read the run, and try again."""
    DIGESTS = 7
    """No refusal. The row has the digests of what the entries of the journal replaced."""


@dataclass(slots=True)
class RequestColumns:
    """The requests, in ascending order of their workflows. The other groups name a request by its number, from 1."""

    shard: list[int] = field(default_factory=list)
    range: list[int] = field(default_factory=list)
    macs: bytearray = field(default_factory=bytearray)
    namespace: list[UUID] = field(default_factory=list)
    workflow: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class CurrentColumns:
    """The expected current runs, and their new values. `macs` has the tag of the known row, too. Without `run` no row is written."""

    request: list[int] = field(default_factory=list)
    rule: list[int] = field(default_factory=list)
    archetype: list[int] = field(default_factory=list)
    expected: list[UUID | None] = field(default_factory=list)
    expected_version: list[int] = field(default_factory=list)
    run: list[UUID | None] = field(default_factory=list)
    state: list[int | None] = field(default_factory=list)
    version: list[int | None] = field(default_factory=list)
    macs: bytearray = field(default_factory=bytearray)
    data: Column = field(default_factory=list)


@dataclass(slots=True)
class RunColumns:
    """Runs to insert, update or replace. `macs` has the tag of the row that is replaced, too."""

    request: list[int] = field(default_factory=list)
    rule: list[int] = field(default_factory=list)
    run: list[UUID] = field(default_factory=list)
    condition: list[int] = field(default_factory=list)
    next_event: list[int] = field(default_factory=list)
    version: list[int] = field(default_factory=list)
    record_version: list[int] = field(default_factory=list)
    macs: bytearray = field(default_factory=bytearray)
    data: Column = field(default_factory=list)


@dataclass(slots=True)
class MapColumns:
    """Entries of the runs' maps. They name a run by its number, from 1."""

    run: list[int] = field(default_factory=list)
    map: list[int] = field(default_factory=list)
    item: Column = field(default_factory=list)
    data: Column = field(default_factory=list)


@dataclass(slots=True)
class TaskColumns:
    """History tasks."""

    request: list[int] = field(default_factory=list)
    category: list[int] = field(default_factory=list)
    fire_time: list[int] = field(default_factory=list)
    task: list[int] = field(default_factory=list)
    data: Column = field(default_factory=list)


@dataclass(slots=True)
class VisibilityColumns:
    """Visibility records."""

    request: list[int] = field(default_factory=list)
    id: list[bytes] = field(default_factory=list)
    version: list[int] = field(default_factory=list)
    epoch: list[int] = field(default_factory=list)
    close_bucket: list[int] = field(default_factory=list)
    start_bucket: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    sealed: list[bytes] = field(default_factory=list)
    h_workflow: list[int | None] = field(default_factory=list)
    h_run: list[int | None] = field(default_factory=list)
    h_type: list[int | None] = field(default_factory=list)
    h_status: list[int | None] = field(default_factory=list)
    h_queue: list[int | None] = field(default_factory=list)
    h_division: list[int | None] = field(default_factory=list)


@dataclass(slots=True)
class JournalColumns:
    """The entries of the journal, one for each request."""

    request: list[int] = field(default_factory=list)
    number: list[int] = field(default_factory=list)
    entry: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class WriteExecutionsColumns:
    """All arguments of a call.

    Attributes:
        shard: The shard of all requests on a Citus cluster; not used elsewhere.
        outbox: Whether visibility records are added to the outbox, for a search index outside the database.
        writer: This process in the journal.
    """

    shard: int
    outbox: bool
    writer: UUID | None = None
    requests: RequestColumns = field(default_factory=RequestColumns)
    currents: CurrentColumns = field(default_factory=CurrentColumns)
    runs: RunColumns = field(default_factory=RunColumns)
    maps: MapColumns = field(default_factory=MapColumns)
    tasks: TaskColumns = field(default_factory=TaskColumns)
    history: HistoryColumns = field(default_factory=HistoryColumns)
    visibility: VisibilityColumns = field(default_factory=VisibilityColumns)
    journal: JournalColumns = field(default_factory=JournalColumns)


GROUPS: Final[Mapping[str, str]] = {
    "p": "",
    "r": "requests.",
    "c": "currents.",
    "x": "runs.",
    "m": "maps.",
    "t": "tasks.",
    "n": "history.n_",
    "h": "history.t_",
    "v": "visibility.",
    "j": "journal.",
}
"""The path in `WriteExecutionsColumns` of a parameter's column, by the parameter's first letter."""
_PARAMETER = re.compile(r"([a-z])_(\w+)")


def argument_path(parameter: str) -> str:
    """Return where the argument of a parameter is in `WriteExecutionsColumns`, for example `runs.next_event`."""
    match = _PARAMETER.fullmatch(parameter)
    assert match is not None, f"{parameter} begins with no group"  # noqa: S101 - our own file
    return GROUPS[match[1]] + match[2]


class Answer(NamedTuple):
    """The answer of `write_executions`.

    Attributes:
        refused: A row for each request that was refused: `request` is its number and `reason` a `Refusal`. The other columns describe
            the stored run.
        digests: The digest of what the entry of a request replaced, by the request's number, unless it replaced nothing.
    """

    refused: Sequence[Row]
    digests: Mapping[int, bytes]


class WriteExecutions:
    """Calls `write_executions`.

    Args:
        distributed: Whether the tables are spread over a Citus cluster.
        timeout: Seconds to wait for the answer.
    """

    def __init__(self, *, distributed: bool, timeout: float) -> None:
        self._function = load_functions(distributed=distributed)["write_executions"]
        self._timeout = timeout
        self._arguments = attrgetter(*map(argument_path, self._function.names))
        self._arguments(WriteExecutionsColumns(shard=0, outbox=False))  # raises for a parameter without a column

    async def call(self, connection: Connection, columns: WriteExecutionsColumns) -> Answer:
        """Write all requests that pass their checks, in one statement.

        Raises:
            StorageError: The statement failed, and nothing was written.
        """
        rows = list(await self._function.call(connection, *self._arguments(columns), timeout=self._timeout))
        if not rows or rows[-1]["reason"] != Refusal.DIGESTS:
            return Answer(rows, {})
        return Answer(rows, dict(_DIGEST.iter_unpack(rows.pop()["data"])))
