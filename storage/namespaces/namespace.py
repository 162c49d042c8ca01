"""A namespace as an administrator sees it, and the errors that hide its name."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.kms import WrongRegion, check_region

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from strongroom.storage.engine.connection import Row


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace with its unsealed details.

    Attributes:
        namespace_id: The id, in clear in every row of the namespace.
        name: The name; None if the namespace is shredded, or its keys are not available now.
        version: 1, plus the number of changes of the name and the search attributes.
        created_at: The time of its creation, UTC.
        shredded_at: The time at which it was shredded, UTC; None before.
        search_attributes: The registered custom search attributes, name to Temporal's name of the type.
        aliases: Other names of search attributes in filters, each with the registered name.
        unreadable: The reason why the name can't be shown; None if it can.
        error: The name of the type of the error that is the reason, for example `IntegrityError`; None if there is none.
        shred_due_at: In a list, the time from which a scheduled shredding may be confirmed, UTC; None otherwise.
        deleted_at: In a list, the time at which its service deleted it, UTC; None otherwise.
        region: The region of the namespace; None if the name is None, or if the cell has no region.
    """

    namespace_id: UUID
    name: str | None
    version: int
    created_at: datetime
    shredded_at: datetime | None = None
    search_attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unreadable: str | None = None
    shred_due_at: datetime | None = None
    deleted_at: datetime | None = None
    region: str | None = None
    error: str | None = None


def unopened(row: Row) -> Namespace:
    """Return the part of a namespace that its row shows without keys."""
    namespace_id = UUID(bytes=row["namespace_id"].bytes)
    return Namespace(
        namespace_id,
        None,
        row["version"],
        row["created_at"],
        row["shredded_at"],
        shred_due_at=row.get("shred_due_at"),  # in lists only
        deleted_at=row.get("deleted_at"),
    )


def check_namespace_region(region: str | None, cell: str | None) -> None:
    """Check that a new namespace is in the region of the cell.

    Args:
        region: The region of the namespace; None for the cell's.
        cell: The region of the cell; None for no region.

    Raises:
        WrongRegion: The namespace's region is not the cell's.
        InvalidRequest: The name of the region is not valid.
    """
    if region is None or check_region(region) == cell:
        return
    if cell is None:
        msg = f"this cell is bound to no region; make one for {region} with `strongroom init --region {region}`, and use that"
    else:
        msg = f"this cell is bound to region {cell}; use the configuration of the cell of {region}, or make one with `strongroom init`"
    raise WrongRegion(msg)
