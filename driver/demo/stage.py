"""The state that the steps of the demonstration share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.visibility import attribute_types

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.importing.import_file import Execution
    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Namespace
    from strongroom.visibility import SearchAttributes

    from .terminal import Terminal


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace, and the executions that were imported into it."""

    namespace: Namespace
    executions: tuple[Execution, ...]

    @property
    def types(self) -> SearchAttributes:
        """The custom search attributes of the namespace."""
        return attribute_types(self.namespace)


@dataclass(frozen=True, slots=True)
class Stage:
    """An open cell with the sample imported.

    Attributes:
        strongroom: The cell.
        terminal: The output.
        folder: The folder of the demonstration; the database's files are in its folder `postgres`.
        superuser_dsn: The connection string of the server's superuser, for the leak scan. The cell connects as a plain owner.
        tenants: Two namespaces with KEKs in different keyrings. The second one is shredded at the end.
    """

    strongroom: Strongroom
    terminal: Terminal
    folder: Path
    superuser_dsn: str
    tenants: tuple[Tenant, Tenant]
