"""The database's functions that statements of several calls use, one file each in `sql/*/functions`.

A function's name in the database ends in a digest of its text. So two versions of the software can run at the same time, and each
finds its own function. On a Citus cluster each call is for one shard, and the comments that begin with `confined:` become conditions
that show the planner the shard. The call runs in a session of Citus on that shard's node.

A function and its tables are named with their schema, so that no call depends on the search path. A function has no SET clause,
because for the setting `strongroom.namespaces` only a superuser may write one. It sets the namespaces of its call for the transaction,
and restores the caller's before it returns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from .connection import SCHEMA
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .connection import Connection, Row

_CREATE = re.compile(r"^CREATE FUNCTION (\w+)\((.*?)\)\s*\nRETURNS", re.MULTILINE | re.DOTALL)
_CONFINED = re.compile(r"/\* confined: (.*?) \*/", re.DOTALL)

_INTEGERS = frozenset({"smallint[]", "integer[]", "bigint[]"})


def _integers(values: Iterable[int | None]) -> str:
    """Return an array literal. asyncpg searches each element of an array for nested arrays, which costs more than the literal."""
    return "{" + str(list(values))[1:-1].replace("None", "NULL") + "}"


@dataclass(frozen=True)
class Function:
    """A function in the database.

    Attributes:
        name: The name with the digest, without the schema.
        names: The names of the parameters, in order.
        types: The types of the parameters, in order.
        sql: The statement that creates the function.
    """

    name: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    sql: str

    async def call(self, connection: Connection, *arguments: object, timeout: float | None = None) -> Sequence[Row]:  # noqa: ASYNC109 - asyncpg's
        """Call the function and return its rows. The value of a function without columns has the name `result`.

        Args:
            connection: The connection.
            arguments: The arguments, in the order of the parameters.
            timeout: Seconds to wait for the answer; None for the connection's own limit.

        Raises:
            StorageError: The call failed; see `translate.py`.
        """
        encoded = [
            _integers(cast(Iterable[int | None], argument)) if kind in _INTEGERS else argument
            for kind, argument in zip(self.types, arguments, strict=True)
        ]
        with translated():
            return await connection.fetch(self._statement, *encoded, timeout=timeout)

    @cached_property
    def _statement(self) -> str:
        casts = (f"${n}::text::{kind}" if kind in _INTEGERS else f"${n}" for n, kind in enumerate(self.types, 1))
        return f"SELECT * FROM {SCHEMA}.{self.name}({', '.join(casts)}) AS result"  # noqa: S608 - our own name


@cache
def load_functions(*, distributed: bool) -> Mapping[str, Function]:
    """Return all functions by their names without digest.

    Args:
        distributed: Whether they are for a Citus cluster.
    """
    texts = [
        entry.read_text(encoding="utf-8")
        for package in (files("strongroom.storage") / "sql").iterdir()
        if (package / "functions").is_dir()
        for entry in (package / "functions").iterdir()
    ]
    return MappingProxyType(dict(sorted(_function(text, distributed=distributed) for text in texts)))


def _function(text: str, *, distributed: bool) -> tuple[str, Function]:
    text = _CONFINED.sub(r"\1" if distributed else "", text)
    match = _CREATE.search(text)
    assert match is not None, "a file of sql/functions creates one function"  # noqa: S101 - our own files
    base = match[1]
    form = b"distributed" if distributed else b""  # a single server's functions are dropped when they are distributed
    name = f"{base}_{sha256(text.encode() + form).hexdigest()[:8]}"
    parameters = [line.split("--")[0].strip().rstrip(",").split() for line in match[2].strip().splitlines()]
    names, types = zip(*parameters, strict=True)
    sql = text.replace(f"CREATE FUNCTION {base}(", f"CREATE FUNCTION {SCHEMA}.{name}(", 1)
    return base, Function(name, names, types, sql)
