"""SQL statements, read from the files in `storage/sql`. In a file, each statement follows a line `-- name: ...`."""

from __future__ import annotations

import re
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_CONFINED = re.compile(r"/\* confined: (.*?) \*/", re.DOTALL)


def confined(statement: str) -> str:
    """Return the form of a statement for a Citus cluster: comments that begin with `confined:` become conditions."""
    return _CONFINED.sub(r"\1", statement)


def load_queries(store: str) -> Mapping[str, str]:
    """Return the statements of a file by name.

    Args:
        store: Path of the file below `sql`, without its suffix, for example `histories/histories`.
    """
    text = (files("strongroom.storage") / "sql" / f"{store}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return MappingProxyType(dict(zip(parts[::2], (body.strip() for body in parts[1::2]), strict=True)))
