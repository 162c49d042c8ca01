"""What the documents of an epoch hold: a preset, and how many salts each status has. The registry keeps it beside the epoch's key.

A layout never changes; another one comes with another epoch (DESIGN.md, "Rotation and presets"). As text:

    ""                                  the preset compatible in the first form
    "strict Completed=180 Failed=4"     the preset strict in it, and a salt for each half percent of runs that had a status when it
                                        was made
    "compatible 2", "strict 2 Failed=4" the same in the second form

New epochs are of the newest form. An older one is read and written as it is until the namespace is rotated: an older version of
the software may still be at work beside this one, and knows no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from strongroom.storage import DataLoss, InvalidPersistenceRequest
from strongroom.visibility.fields import BUILT_IN, CUSTOM_FIELDS, HASHED, first_form
from strongroom.visibility.filter.tree import STATUS_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.visibility.attributes import AttributeType
    from strongroom.visibility.fields import Profile

Preset: TypeAlias = Literal["compatible", "strict"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
SALTS = 200
"""Of all statuses together: a token then stands for half a percent of the runs, and none for a status that is rarer in sum."""
FORM = 2
"""Of new layouts. What is different in the first: see `first_form`; and that no token has a column of its own."""
USUAL_SALTS: Mapping[str, int] = MappingProxyType({"Completed": 180, "Running": 10, "Failed": 4, "ContinuedAsNew": 2})
"""For a namespace that has no runs yet. Statuses that are not named have one salt."""
_HEADS: Mapping[tuple[Preset, int], tuple[str, ...]] = MappingProxyType(
    {
        ("compatible", 1): (),
        ("strict", 1): ("strict",),
        ("compatible", 2): ("compatible", "2"),
        ("strict", 2): ("strict", "2"),
    }
)
"""The words that a layout's text begins with; the salts follow."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A preset with its parameters.

    Attributes:
        preset: see `fields.py`.
        salts: how many tokens a status is spread over; one where none is named.
        form: which tokens an attribute has in a preset.
    """

    preset: Preset = "compatible"
    salts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    form: int = FORM

    def profile(self, name: str, attribute_type: AttributeType) -> Profile:
        """Return what a document of this layout holds of an attribute."""
        found = BUILT_IN.get(name) or CUSTOM_FIELDS[attribute_type]
        profile = (found.strict or found.compatible) if self.preset == "strict" else found.compatible
        return first_form(profile) if self.form == 1 else profile

    def column(self, name: str) -> str | None:
        """Return in which column the equality token of an attribute stands in PostgreSQL; None for the bag with all others."""
        return HASHED.get(name) if self.form > 1 and self.preset == "compatible" else None

    def __str__(self) -> str:
        """Return the text that `parse_layout` reads."""
        salts = (f"{status}={count}" for status, count in sorted(self.salts.items()))
        return " ".join([*_HEADS[self.preset, self.form], *salts])


def new_layout(preset: str, statuses: Mapping[str, int] | None = None) -> Layout:
    """Return the layout of an epoch that is to be made.

    Args:
        preset: its name.
        statuses: how many runs have which status; None for the usual shares.

    Raises:
        InvalidPersistenceRequest: no such preset.
    """
    if preset == "compatible":
        return Layout()
    if preset != "strict":
        msg = f"the preset of an index is one of {', '.join(PRESETS)}"
        raise InvalidPersistenceRequest(msg)
    runs = sum(statuses.values()) if statuses else 0
    if not statuses or runs < SALTS:
        return Layout("strict", USUAL_SALTS)
    shares = {status: round(SALTS * count / runs) for status, count in statuses.items() if status in STATUS_NAMES}
    return Layout("strict", MappingProxyType({status: count for status, count in shares.items() if count > 1}))


@lru_cache(maxsize=1024)
def parse_layout(text: str) -> Layout:
    """Read what stands in the registry.

    Raises:
        DataLoss: a layout that this version does not know.
    """
    words = text.split(" ") if text else []
    preset: Preset = "strict" if words[:1] == ["strict"] else "compatible"
    form = 2 if words[1:2] == ["2"] else 1
    head = _HEADS[preset, form]
    pairs = [salt.partition("=") for salt in words[len(head) :]]
    known = all(status in STATUS_NAMES and count.isdecimal() for status, _, count in pairs)
    if tuple(words[: len(head)]) != head or not known or (pairs and preset != "strict"):
        msg = "the index is of a layout that this version does not know"
        raise DataLoss(msg)
    return Layout(preset, MappingProxyType({status: int(count) for status, _, count in pairs}), form)
