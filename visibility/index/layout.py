"""The layout of an epoch: which tokens its documents have. The registry stores it next to the epoch's key, as text.

    compatible 2                        the preset `compatible`
    strict 2 Completed=180 Failed=4     the preset `strict`, with the number of salts of each status that has more than one

The 2 is the version of layouts. A version that is not known is refused. A layout never changes: another layout comes with
another epoch (DESIGN.md, "Rotation and presets").
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from strongroom.storage import DataLoss, InvalidPersistenceRequest
from strongroom.visibility.fields import BUILT_IN, CUSTOM_FIELDS, HASHED
from strongroom.visibility.filter.tree import STATUS_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms import NamespaceKeys
    from strongroom.visibility.attributes import AttributeType
    from strongroom.visibility.fields import Profile

Preset: TypeAlias = Literal["compatible", "strict"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
SALTS = 200
"""Number of salts that all statuses share. Each salt stands for half a percent of the runs; a status has at least one."""
USUAL_SALTS: Mapping[str, int] = MappingProxyType({"Completed": 180, "Running": 10, "Failed": 4, "ContinuedAsNew": 2})
"""Salts of a namespace that has no runs yet. A status that is not listed has one salt."""
_VERSION = "2"


@dataclass(frozen=True, slots=True)
class Layout:
    """A preset with its parameters.

    Attributes:
        preset: Name of the preset, see `fields.py`.
        salts: Number of equality tokens of a status; 1 for a status that is not listed.
    """

    preset: Preset = "compatible"
    salts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))

    def profile(self, name: str, attribute_type: AttributeType) -> Profile:
        """Return which tokens a document of this layout has for an attribute."""
        attribute = BUILT_IN.get(name) or CUSTOM_FIELDS[attribute_type]
        return (attribute.strict or attribute.compatible) if self.preset == "strict" else attribute.compatible

    def column(self, name: str) -> str | None:
        """Return the PostgreSQL column of an attribute's equality token, or None if the token is in the token set."""
        return HASHED.get(name) if self.preset == "compatible" else None

    def __str__(self) -> str:
        """Return the text that `parse_layout` reads."""
        salts = (f"{status}={count}" for status, count in sorted(self.salts.items()))
        return " ".join([self.preset, _VERSION, *salts])


def new_layout(preset: str, statuses: Mapping[str, int] | None = None) -> Layout:
    """Return a layout for a new epoch.

    Args:
        preset: Name of the preset.
        statuses: Number of runs of each status, which decides the number of salts; None for the usual shares.

    Raises:
        InvalidPersistenceRequest: There is no such preset.
    """
    if preset == "compatible":
        return Layout()
    if preset != "strict":
        msg = f"unknown index preset; use one of {', '.join(PRESETS)}"
        raise InvalidPersistenceRequest(msg)
    runs = sum(statuses.values()) if statuses else 0
    if not statuses or runs < SALTS:
        return Layout("strict", USUAL_SALTS)
    shares = {status: round(SALTS * count / runs) for status, count in statuses.items() if status in STATUS_NAMES}
    return Layout("strict", MappingProxyType({status: count for status, count in shares.items() if count > 1}))


def coarsest_bucket(keys: NamespaceKeys) -> int:
    """Return the width of the coarsest buckets that documents of a namespace can have, in seconds. 1: exact seconds."""
    del keys
    return 1


@lru_cache(maxsize=1024)
def parse_layout(text: str) -> Layout:
    """Return the layout that the registry stores as text.

    Raises:
        DataLoss: This version does not know the layout.
    """
    preset, version, *salts = text.split(" ") if " " in text else (text, "")
    pairs = [salt.partition("=") for salt in salts]
    are_salts = all(status in STATUS_NAMES and count.isdecimal() for status, _, count in pairs)
    if version == _VERSION and preset == "compatible" and not pairs:
        return Layout()
    if version == _VERSION and preset == "strict" and are_salts:
        return Layout("strict", MappingProxyType({status: int(count) for status, _, count in pairs}))
    msg = "unknown layout of a visibility index; a newer version of strongroom may have written it"
    raise DataLoss(msg)
