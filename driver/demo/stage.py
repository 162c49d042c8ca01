"""What the steps of the demonstration share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.driver.importing.importer import attribute_types

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.importing.import_file import Execution
    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import Namespace
    from strongroom.visibility import SearchAttributes


@dataclass(frozen=True, slots=True)
class Tenant:
    """A namespace, and what went into it."""

    namespace: Namespace
    executions: tuple[Execution, ...]

    @property
    def types(self) -> SearchAttributes:
        """Its custom search attributes."""
        return attribute_types(self.namespace)


@dataclass(frozen=True, slots=True)
class Stage:
    """An open cell with the sample imported.

    Attributes:
        strongroom: the cell.
        folder: where the database's files are, in `postgres`.
        tenants: two namespaces in different hands; the second one is shredded in the end.
    """

    strongroom: Strongroom
    folder: Path
    tenants: tuple[Tenant, Tenant]
