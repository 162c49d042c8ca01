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
from .queries import confined
from .translate import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .connection import Connection, Row

_CREATE = re.compile(r"^CREATE FUNCTION (\w+)\((.*?)\)\s*\nRETURNS", re.MULTILINE | re.DOTALL)
_ONLY_DISTRIBUTED = "/* on a cluster only */"
"""The beginning of a file whose function does what one statement does on a single server."""

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
        distributed: Whether it is for a Citus cluster. Citus sends a call to a node as text, in which an array literal of a parameter
            has a type that no function has.
    """

    name: str
    names: tuple[str, ...]
    types: tuple[str, ...]
    sql: str
    distributed: bool = False

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
            _integers(cast(Iterable[int | None], argument)) if is_literal else argument
            for is_literal, argument in zip(self._literals, arguments, strict=True)
        ]
        with translated():
            return await connection.fetch(self._statement, *encoded, timeout=timeout)

    @cached_property
    def _literals(self) -> tuple[bool, ...]:
        """Whether each argument travels as an array literal."""
        return tuple(kind in _INTEGERS and not self.distributed for kind in self.types)

    @cached_property
    def _statement(self) -> str:
        numbered = enumerate(zip(self.types, self._literals, strict=True), 1)
        casts = (f"${n}::text::{kind}" if is_literal else f"${n}" for n, (kind, is_literal) in numbered)
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
    wanted = [text for text in texts if distributed or not text.startswith(_ONLY_DISTRIBUTED)]
    return MappingProxyType(dict(sorted(_function(text, distributed=distributed) for text in wanted)))


def _function(text: str, *, distributed: bool) -> tuple[str, Function]:
    text = confined(text) if distributed else text
    match = _CREATE.search(text)
    assert match is not None, "a file of sql/functions creates one function"  # noqa: S101 - our own files
    base = match[1]
    form = b"distributed" if distributed else b""  # a single server's functions are dropped when they are distributed
    name = f"{base}_{sha256(text.encode() + form).hexdigest()[:8]}"
    parameters = [line.split("--")[0].strip().rstrip(",").split() for line in match[2].strip().splitlines()]
    names, types = zip(*parameters, strict=True)
    sql = text.replace(f"CREATE FUNCTION {base}(", f"CREATE FUNCTION {SCHEMA}.{name}(", 1)
    return base, Function(name, names, types, sql, distributed)
