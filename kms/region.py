"""Regions: a cell may be bound to one, and then its rows and keys are too (FORMAT.md section 3.3)."""

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
    """Return a region's name, if it is one.

    Raises:
        InvalidRequest: not 1 to 63 lower-case letters and digits, with single hyphens between.
    """
    if len(region) > REGION_CHARACTERS or not _REGION.fullmatch(region):
        msg = f"a region is 1 to {REGION_CHARACTERS} lower-case letters, digits and hyphens, such as eu-central-1"
        raise InvalidRequest(msg)
    return region


def bound_cell_id(cell_id: UUID, region: str | None) -> UUID:
    """Return what stands for a cell in associated data and commitments: its id, or with a region one made of both."""
    return cell_id if region is None else uuid5(cell_id, region)


def check_kek_regions(kek: KekRef, found: Collection[str | None], allowed: Collection[str]) -> None:
    """Refuse a KEK that is not wholly within a cell's region.

    Args:
        kek: the KEK.
        found: where it is, as its provider says; None for a place that nothing tells.
        allowed: what KMSs call the cell's region.

    Raises:
        WrongRegion: it is elsewhere, in several regions, or nobody knows where.
    """
    if found and all(region in allowed for region in found):
        return
    known = sorted(region for region in found if region is not None)
    places = " and ".join([*known, *(["a place that nothing tells"] if len(known) < len(found) else [])]) or "no region"
    msg = f"{kek} is in {places}, and this cell uses KEKs in {', '.join(sorted(allowed))} only; name one there"
    raise WrongRegion(msg)
