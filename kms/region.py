"""Regions. If a cell is bound to a region, its rows and keys are bound to that region too (FORMAT.md section 3.3)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from .errors import InvalidRequest, WrongRegion

if TYPE_CHECKING:
    from collections.abc import Collection

    from .provider import KekRef

_REGION = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
REGION_CHARACTERS = 63


def check_region(region: str) -> str:
    """Return a region's name if it is valid.

    Raises:
        InvalidRequest: The name is not 1 to 63 lower-case letters and digits with single hyphens between them.
    """
    if not isinstance(region, str) or len(region) > REGION_CHARACTERS or not _REGION.fullmatch(region):
        msg = f"a region must have 1 to {REGION_CHARACTERS} lower-case letters, digits and hyphens, for example eu-central-1"
        raise InvalidRequest(msg)
    return region


def bound_cell_id(cell_id: UUID, region: str | None) -> UUID:
    """Return the cell id that is used in associated data and commitments.

    Without a region this is the cell's own id. With a region it is a UUID derived from the id and the region.
    """
    return cell_id if region is None else uuid5(cell_id, region)


def check_kek_regions(kek: KekRef, regions: Collection[str | None], allowed: Collection[str]) -> None:
    """Raise an error if a KEK is not wholly within a cell's region.

    Args:
        kek: The KEK.
        regions: The KEK's regions according to its provider. None stands for an unknown region.
        allowed: Names of the cell's region in the KMSs.

    Raises:
        WrongRegion: The KEK is in another region, in several regions, or its region is unknown.
    """
    if regions and all(region in allowed for region in regions):
        return
    named = sorted(region for region in regions if region is not None)
    places = " and ".join([*named, *(["an unknown region"] if len(named) < len(regions) else [])]) or "no region"
    msg = f"{kek} is in {places}, but this cell uses only KEKs in {', '.join(sorted(allowed))}; name a KEK there"
    raise WrongRegion(msg)
