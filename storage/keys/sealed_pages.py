"""Read the sealed values of one column that use a key version, page by page. The version is in clear in each value's header.

A page is one statement by the primary key. It takes no lock, sorts no table and meets no time limit, whatever the size of the table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.schema.partitions import partition_windows, partitions_of_namespace
from strongroom.storage.schema.table import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

    from .sealed_columns import SealedColumn

_SQL = load_queries("keys/reseal")

CHUNK = 1000
"""Rows in one page."""
CHUNK_BYTES = 4 * 2**20
"""Maximum bytes of sealed values in one page, without its last value."""
COUNTED = 10_000
"""Rows in one page that is only counted."""
_FIRST_OF_CURSOR = {"of_table": 4, "of_partition": 5}
"""Number of the first parameter of a statement's cursor."""

# A value that is not of the sealed format is wanted too, because it may be a damaged value of any version.
_NOT_SEALED = r"octet_length({value}) < 8 OR substring({value} from 1 for 2) <> '\x0701'"
OLDER = "(substring({value} from 5 for 4) < $2 OR " + _NOT_SEALED + ")"
USING = "(substring({value} from 5 for 4) = $2 OR " + _NOT_SEALED + ")"


@dataclass(frozen=True, slots=True)
class Page:
    """The result of one statement.

    Attributes:
        rows: The wanted rows, with the columns of the primary key, those of the value's key, and `sealed`. Empty if they are counted.
        wanted: The number of wanted rows.
        seen: The number of rows that the statement looked at.
    """

    rows: Sequence[Row]
    wanted: int
    seen: int


@dataclass(frozen=True, slots=True)
class _Fetched:
    page: Page
    last: Row | None
    exhausted: bool


class SealedPages:
    """Pages of one column, for the rows of one owner of keys.

    Args:
        database: The database.
        column: The column.
        owner: The id of the namespace, or of the cell.
        version: The key version.
        wanted: `OLDER` for values of older versions, `USING` for values of this version.
        limit: Rows in one page.
        counted: Whether rows are only counted.
        distributed: Whether the tables are distributed over a Citus cluster.
    """

    def __init__(
        self,
        database: Database,
        column: SealedColumn,
        owner: UUID,
        version: int,
        *,
        wanted: str,
        limit: int,
        counted: bool = False,
        distributed: bool = False,
    ) -> None:
        self._database = database
        self._column = column
        self._owner = owner
        self._wanted = wanted
        self._counted = counted
        self._distributed = distributed
        self._limit = limit
        self._parameters = (owner, struct.pack(">I", version), limit)

    async def __aiter__(self) -> AsyncIterator[Page]:
        """Yield the pages in the order of the key."""
        if not self._column.table.is_keyed_by_namespace:
            pages = self._from("of_table")
        elif self._distributed:
            pages = self._by_partition()
        else:
            pages = self._by_window()
        async for page in pages:
            yield page

    async def _by_window(self) -> AsyncIterator[Page]:
        """Read a window of partitions with one statement, and a partition with many rows with further ones."""
        column = str(self._column.table.partition_column)
        async for window in partition_windows(self._database, self._column.table):
            partitions = window
            while partitions:
                fetched = await self._fetch("of_partitions", partitions)
                yield fetched.page
                if fetched.exhausted or fetched.last is None:
                    break
                current = fetched.last[column]
                async for page in self._from("of_partition", current, after=fetched.last):
                    yield page
                partitions = [each for each in partitions if each > current]

    async def _by_partition(self) -> AsyncIterator[Page]:
        """Read a Citus cluster like `_by_window`, with statements for one partition each."""
        for value in await partitions_of_namespace(self._database, self._column.table, self._owner):
            async for page in self._from("of_partition", value):
                yield page

    async def _from(self, source: str, *partition: object, after: Row | None = None) -> AsyncIterator[Page]:
        while True:
            fetched = await self._fetch(source, *partition, after=after)
            yield fetched.page
            if fetched.exhausted or fetched.last is None:
                return
            after = fetched.last

    async def _fetch(self, source: str, *partition: object, after: Row | None = None) -> _Fetched:
        statement = page_statement(
            self._column, source, wanted=self._wanted, counted=self._counted, continued=after is not None
        )
        cursor = () if after is None else tuple(after[name] for name in _order(self._column, source))
        # The limit of a page counts the rows of all namespaces. If some were hidden, the statement would read more of the table.
        namespaces = EVERY_NAMESPACE if source == "of_table" else self._owner
        async with self._database.connection(namespaces) as connection:
            rows = await connection.fetch(statement, *self._parameters, *partition, *cursor)
        if not rows or not rows[-1]["in_page"]:
            return _Fetched(Page((), 0, 0), None, exhausted=True)
        last, in_page = rows[-1], rows[-1]["in_page"]
        if self._counted:
            return _Fetched(Page((), last["wanted"], in_page), last, exhausted=in_page < self._limit)
        wanted = [row for row in rows if row["wanted"]]
        return _Fetched(Page(wanted, len(wanted), in_page), last, exhausted=last["is_last"] and in_page < self._limit)


def page_statement(column: SealedColumn, source: str, *, wanted: str, counted: bool, continued: bool) -> str:
    """Return the statement of one page. It consists of the names in the descriptors; values are parameters.

    Args:
        column: The column.
        source: The query of `keys/reseal.sql`: "of_partitions", "of_partition" or "of_table".
        wanted: `OLDER` or `USING`.
        counted: Whether rows are only counted.
        continued: Whether the page begins after a key.
    """
    table = column.table
    value, order = f"t.{column.name}", _order(column, source)
    condition = wanted.format(value=value)
    if table.namespaced and source == "of_table":
        condition = f"(t.{NAMESPACE} = $1 AND {condition})"
    condition = f"coalesce({condition}, false)"  # a value may be NULL
    names = dict.fromkeys((*table.key_names, *(() if counted else column.parts)))
    columns = [f"t.{name}" for name in names] + [f"{condition} AS wanted"]
    if not counted:
        columns += [f"CASE WHEN {condition} THEN {value} END AS sealed", f"octet_length({value}) AS size"]
    after = ""
    if continued:
        numbers = range(_FIRST_OF_CURSOR[source], _FIRST_OF_CURSOR[source] + len(order))
        after = f" AND ({', '.join(f't.{name}' for name in order)}) > ({', '.join(f'${number}' for number in numbers)})"
    page = _SQL[source].format(
        table=table.name,
        partition=table.partition_column,
        columns=", ".join(columns),
        rest=", ".join(f"t.{name}" for name in order),
        after=after,
    )
    if not counted:
        return _SQL["rows"].format(page=page, bytes=CHUNK_BYTES)
    last = ", ".join(f"(array_agg(page.{name}))[count(*)] AS {name}" for name in table.key_names)
    return _SQL["count"].format(page=page, last=last)


def _order(column: SealedColumn, source: str) -> tuple[str, ...]:
    """Return the columns that a page is ordered by."""
    return column.table.key_names if source == "of_table" else column.table.key_names[2:]
