"""The numbered steps that make the schema.

A `pre` step runs before a new version of the software is rolled out, so the old version must still work after it. A `post` step runs
after the old version is gone, and may remove what only that version used.

The statements of consecutive steps are one transaction. An `online` step, `0002_post_online_name.sql`, builds or drops indexes outside
of a transaction, so that services go on writing (`online_steps.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from strongroom.storage.engine.connection import Connection

_FILE = re.compile(r"(\d{4})_(?:pre|post)_\w+\.sql")
_ONLINE = re.compile(r"\d{4}_(?:pre|post)_online_")
_FOLDER = files("strongroom.storage") / "sql" / "schema" / "migrations"
_RECORD = "INSERT INTO strongroom.schema_version (version, name, applied_at) VALUES ($1, $2, now())"


@dataclass(frozen=True, slots=True)
class Migration:
    """A step of the schema.

    Attributes:
        version: The schema version after the step.
        name: The name of its file.
        sql: Its statements.
    """

    version: int
    name: str
    sql: str

    @property
    def is_online(self) -> bool:
        """Whether the step runs outside of a transaction."""
        return _ONLINE.match(self.name) is not None


def migrations(folder: Traversable = _FOLDER) -> list[Migration]:
    """Return all steps in order.

    Args:
        folder: The folder of the steps. Files with other names are left out.
    """
    matches = [(match, entry) for entry in folder.iterdir() if (match := _FILE.fullmatch(entry.name))]
    return sorted(
        (Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8")) for match, entry in matches),
        key=lambda migration: migration.version,
    )


def current_version() -> int:
    """Return the schema version that this version of the software works with."""
    return migrations()[-1].version


async def record(connection: Connection, step: Migration) -> None:
    """Record that a step was run.

    Raises:
        StorageError: The database does not answer.
    """
    await connection.execute(_RECORD, step.version, step.name)
