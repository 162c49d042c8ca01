"""The stores without parts of what detects older rows, for `freshness.py` only.

`ENTRIES` leaves out the images, hashes, sealing and arguments of entries, the INSERT of entries in the functions, and the digests of
replaced rows. The functions still collect the images of replaced nodes and records.

`DIGESTS` leaves out the digest of map rows, the end of a history, the checks of both, what a process knows of runs, the MACs of runs
and of current runs, and the comparison with the replaced row's tag. Rows and columns keep their lengths, the functions compare MACs
that are zero, and shards and task queues keep their MACs. Rows that were written without this part can't be read with it.
"""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from strongroom.storage.engine.functions import load_functions
from strongroom.storage.executions import reading, rows, writing
from strongroom.storage.executions.known_runs import KnownRuns
from strongroom.storage.executions.packing import NO_BINDING
from strongroom.storage.fences import MAC_BYTES
from strongroom.storage.histories import store as histories
from strongroom.storage.histories.ends import EndChecks
from strongroom.storage.journal.writer import Journal
from strongroom.storage.matching import task_batches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from strongroom.storage.engine.connection import Connection

ENTRIES, DIGESTS = "entries", "digests"
_FUNCTIONS = ("write_executions", "append_history_nodes", "create_tasks")
_DIGESTS = re.compile(
    r"\n    IF (?:old_request IS NOT NULL|cardinality\(old_shard\) > 0|digests IS NOT NULL) THEN\n.*?\n    END IF;(?=\n)",
    re.DOTALL,
)
_INSERT = re.compile(r"\n    INSERT INTO strongroom\.journal .*?;(?=\n)", re.DOTALL)
_IMAGE = re.compile(r"CASE WHEN c\.rule <> 4 AND c\.known = unknown THEN .*? END AS image", re.DOTALL)
_TAG = " OR e.tag = substr(x_macs, x.number::integer * 80 - 15, 16)\n"
_NO_STATE = bytes(MAC_BYTES), NO_BINDING, None, None, 0


class NoFences:
    """`RunFences` whose MACs are zero."""

    def __init__(self, *_: object) -> None:
        pass

    def current(self, *_: object) -> bytes:
        """Return no MACs."""
        return bytes(2 * MAC_BYTES)

    def write_version(self, *_: object) -> bytes:
        """Return no MAC."""
        return bytes(MAC_BYTES)

    def stored(self, *_: object, **_values: object) -> bytes:
        """Return no MACs."""
        return bytes(3 * MAC_BYTES)

    def replaced(self, *_: object, **_values: object) -> bytes:
        """Return no MACs."""
        return bytes(4 * MAC_BYTES)


async def _no_entries(*_: object) -> list[Any]:
    return []


async def _without_end(
    _: EndChecks, _namespace: object, _branch: object, attempt: Callable[[None], Awaitable[tuple[Any, bool]]]
) -> Any:
    return (await attempt(None))[0]


@contextmanager
def without(*parts: str) -> Iterator[None]:
    """Leave out parts while the block runs. The journal's part holds for the operations of the benchmark only."""
    patches = []
    if ENTRIES in parts:
        patches += [
            patch.object(Journal, "record", _no_entries),
            patch.object(writing, "changes_of", lambda *_: []),
            patch.object(histories, "changed_history", lambda *_, **__: None),
            patch.object(task_batches, "added_tasks", lambda *_: []),
        ]
    if DIGESTS in parts:
        patches += [
            patch.object(rows, "RunFences", NoFences),
            patch.object(rows, "next_state", lambda *_, **__: (NO_BINDING, None, {})),
            patch.object(reading, "stored_rows", lambda *_, **__: None),
            patch.object(KnownRuns, "get", lambda *_: _NO_STATE),
            patch.object(KnownRuns, "put", lambda *_: None),
            patch.object(EndChecks, "read", _without_end),
        ]
    with ExitStack() as stack:
        for each in patches:
            stack.enter_context(each)
        yield


async def replace_functions(connection: Connection, *parts: str) -> None:
    """Replace the functions of a throw-away database by ones without parts.

    Args:
        connection: A connection to the database.
        parts: The parts to leave out.
    """
    for name in _FUNCTIONS:
        sql = load_functions(distributed=False)[name].sql.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
        if ENTRIES in parts:
            sql, count = _INSERT.subn("", _DIGESTS.sub("", sql))
            assert count == 1, f"{name} has {count} inserts of entries"
            assert "sha256" not in sql, f"{name} returns digests of replaced rows in another way"
            sql, count = _IMAGE.subn("NULL::bytea AS image", sql)
            assert count == (name == "write_executions"), f"{name} collects images of current runs in another way"
        if DIGESTS in parts and name == "write_executions":
            assert sql.count(_TAG) == 1, f"{name} compares the tags of rows in another way"
            sql = sql.replace(_TAG, " OR true\n")
        await connection.execute(sql)
