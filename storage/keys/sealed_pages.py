"""Go through the sealed values of one column that name some key version, page by page: it is in clear in each value's header.

A page is a statement by the primary key: no lock, no sort of a table, no time limit met, whatever the size of the table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import EVERY_NAMESPACE
from strongroom.storage.namespaces.purge import BELOW_ALL, WINDOW

from .sealed_columns import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from uuid import UUID

    from strongroom.storage.engine.connection import Row
    from strongroom.storage.engine.database import Database

    from .sealed_columns import SealedColumn

_SQL = load_queries("keys/reseal")
_LEADS = load_queries("namespaces/purge")

CHUNK = 1000
CHUNK_BYTES = 4 * 2**20
"""Of the sealed values in one page of rows, but for the last one."""
COUNTED = 10_000
"""Rows in one page that is only counted."""
_FIRST_OF_CURSOR = {"walk": 4, "of_lead": 5}

# A value that is none of the sealed format's is wanted too: it may be the damaged value of any version.
_NOT_SEALED = r"octet_length({value}) < 8 OR substring({value} from 1 for 2) <> '\x0701'"
OLDER = "(substring({value} from 5 for 4) < $2 OR " + _NOT_SEALED + ")"
USING = "(substring({value} from 5 for 4) = $2 OR " + _NOT_SEALED + ")"


@dataclass(frozen=True, slots=True)
class Page:
    """What one statement found.

    Attributes:
        rows: what is wanted, with the columns of the key, of the parts of the value's key, and `sealed`; empty where it is counted.
        wanted: how many rows are.
        seen: rows looked at.
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
    """Pages of one column, for one owner of keys.

    Args:
        database: where the rows are.
        column: which.
        owner: id of the namespace, or of the cell.
        version: the key version.
        wanted: `OLDER` for values of older versions than that, `USING` for values of it.
        limit: rows in one page.
        counted: whether rows are only counted.
        distributed: whether the tables are spread over a Citus cluster.
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
        self._wanted = wanted
        self._counted = counted
        self._distributed = distributed
        self._limit = limit
        self._parameters = (owner, struct.pack(">I", version), limit)

    async def __aiter__(self) -> AsyncIterator[Page]:
        """Yield the pages, in the order of the key."""
        if self._column.lead is None:
            async for page in self._from("walk"):
                yield page
        elif self._distributed:
            async for page in self._by_lead():
                yield page
        else:
            async for page in self._by_window():
                yield page

    async def _by_window(self) -> AsyncIterator[Page]:
        """Look into a window of values of the key's first column with one statement, and into one with many rows with more."""
        last, lead = BELOW_ALL, str(self._column.lead)
        statement = _LEADS["window"].format(table=self._column.table, lead=lead)
        while True:
            async with self._database.connection(EVERY_NAMESPACE) as connection:
                leads = [row["lead"] for row in await connection.fetch(statement, last, WINDOW)]
            if not leads:
                return
            last = leads[-1]
            while leads:
                fetched = await self._fetch("of_leads", leads)
                yield fetched.page
                if fetched.exhausted or fetched.last is None:
                    break
                at = fetched.last[lead]
                async for page in self._from("of_lead", at, after=fetched.last):
                    yield page
                leads = [each for each in leads if each > at]

    async def _by_lead(self) -> AsyncIterator[Page]:
        """As `_by_window` on a Citus cluster, where a statement is of one shard."""
        statement = _LEADS["leads_of_namespace"].format(table=self._column.table, lead=self._column.lead)
        async with self._database.transaction(self._parameters[0], read_only=True, unlimited=True) as connection:
            leads = [row["lead"] for row in await connection.fetch(statement, self._parameters[0])]
        for lead in leads:
            async for page in self._from("of_lead", lead):
                yield page

    async def _from(self, source: str, *lead: object, after: Row | None = None) -> AsyncIterator[Page]:
        while True:
            fetched = await self._fetch(source, *lead, after=after)
            yield fetched.page
            if fetched.exhausted or fetched.last is None:
                return
            after = fetched.last

    async def _fetch(self, source: str, *lead: object, after: Row | None = None) -> _Fetched:
        statement = page_statement(
            self._column, source, wanted=self._wanted, counted=self._counted, continued=after is not None
        )
        cursor = () if after is None else tuple(after[name] for name in _order(self._column, source))
        # A page of a walk is so many rows of everybody, so that no statement reads a whole table.
        namespaces = EVERY_NAMESPACE if source == "walk" else self._parameters[0]
        async with self._database.connection(namespaces) as connection:
            rows = await connection.fetch(statement, *self._parameters, *lead, *cursor)
        if not rows or not rows[-1]["in_page"]:
            return _Fetched(Page((), 0, 0), None, exhausted=True)
        last, in_page = rows[-1], rows[-1]["in_page"]
        if self._counted:
            return _Fetched(Page((), last["wanted"], in_page), last, exhausted=in_page < self._limit)
        wanted = [row for row in rows if row["wanted"]]
        return _Fetched(Page(wanted, len(wanted), in_page), last, exhausted=last["is_last"] and in_page < self._limit)


def page_statement(column: SealedColumn, source: str, *, wanted: str, counted: bool, continued: bool) -> str:
    """Return the statement of one page. All that is put into it are names of our own; values are parameters.

    Args:
        column: of which.
        source: "of_leads", "of_lead" or "walk".
        wanted: `OLDER` or `USING`.
        counted: whether rows are only counted.
        continued: whether it begins after a key.
    """
    value, order = f"t.{column.column}", _order(column, source)
    condition = wanted.format(value=value)
    if column.namespaced and source == "walk":
        condition = f"(t.{NAMESPACE} = $1 AND {condition})"
    condition = f"coalesce({condition}, false)"  # a value may be missing
    names = dict.fromkeys((*column.key_names, *(() if counted else column.parts)))
    columns = [f"t.{name}" for name in names] + [f"{condition} AS wanted"]
    if not counted:
        columns += [f"CASE WHEN {condition} THEN {value} END AS sealed", f"octet_length({value}) AS size"]
    after = ""
    if continued:
        places = range(_FIRST_OF_CURSOR[source], _FIRST_OF_CURSOR[source] + len(order))
        after = f" AND ({', '.join(f't.{name}' for name in order)}) > ({', '.join(f'${place}' for place in places)})"
    page = _SQL[source].format(
        table=column.table,
        lead=column.lead,
        columns=", ".join(columns),
        rest=", ".join(f"t.{name}" for name in order),
        after=after,
    )
    if not counted:
        return _SQL["rows"].format(page=page, bytes=CHUNK_BYTES)
    last = ", ".join(f"(array_agg(page.{name}))[count(*)] AS {name}" for name in column.key_names)
    return _SQL["count"].format(page=page, last=last)


def _order(column: SealedColumn, source: str) -> tuple[str, ...]:
    """Return the columns that a page is in the order of."""
    return column.key_names if source == "walk" else column.key_names[2:]
