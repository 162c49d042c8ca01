"""The layout of an epoch: which tokens its documents have. The registry stores it next to the epoch's key, as text.

    compatible 4                                          the preset `compatible`
    strict 4 bucket=3600 length=1024 Completed=180 Failed=4   the preset `strict`: the size of its time buckets in seconds, the
                                                          shortest length of a record in bytes, and the number of salts of each
                                                          status that has more than one

At the end of both, `prefixes=` and marks with commas between them name the custom Keywords whose prefixes have tokens. A mark is a
keyed token of the attribute's name, because the registry is not sealed.

The 4 is the version of layouts. In version 3, of product version 0.1.0, the leaves of numbers are coarser. A version that is not known
is refused. A layout never changes: another layout comes with another epoch (DESIGN.md, "Rotation and presets").
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from strongroom.kms import KeyClass
from strongroom.storage import DataLoss, InvalidPersistenceRequest
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.fields import BUILT_IN, CUSTOM_FIELDS, HASHED, is_groupable
from strongroom.visibility.filter.tree import STATUS_NAMES, Attribute
from strongroom.visibility.namespace_attributes import stored_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.kms import IdentityKeys, NamespaceKeys
    from strongroom.visibility.fields import Profile
    from strongroom.visibility.filter.tree import SearchAttributes

Preset: TypeAlias = Literal["compatible", "strict"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
SALTS = 200
"""Number of salts that all statuses share. Each salt stands for half a percent of the runs; a status has at least one."""
USUAL_SALTS: Mapping[str, int] = MappingProxyType({"Completed": 180, "Running": 10, "Failed": 4, "ContinuedAsNew": 2})
"""Salts of a namespace that has no runs yet. A status that is not listed has one salt."""
BUCKETS: Mapping[str, int] = MappingProxyType({"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "1d": 86_400})
"""Sizes of a time bucket in the preset `strict`, in seconds. Each is a multiple of the smaller ones, so that documents of two layouts
have one order."""
USUAL_BUCKET = "1h"
LENGTHS: Mapping[str, int] = MappingProxyType({"1KiB": 2**10, "4KiB": 2**12, "16KiB": 2**14, "64KiB": 2**16})
"""Shortest lengths of a record in the preset `strict`, in bytes. Longer records have four times the length, and so on."""
USUAL_LENGTH = "1KiB"
TOKEN_CLASS = 8
"""In the preset `strict`, the number of tokens of a document is a multiple of this."""
MOST_PREFIXED = 64
"""Maximum number of custom Keywords whose prefixes have tokens."""
VERSION = 4
"""The version of new layouts."""
_COARSE_VERSION = 3
_PREFIXES = " prefixes="
_MARK = re.compile("[0-9a-f]{16}", re.ASCII)
_PARAMETERS = 2
"""Number of parameters before the salts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A preset with its parameters.

    Attributes:
        preset: Name of the preset, see `fields.py`.
        salts: Number of equality tokens of a status; 1 for a status that is not listed.
        bucket: Size of a time bucket in seconds.
        length: Shortest length of a packed record in bytes; 0 for records that are compressed and padded to Padmé lengths.
        prefixed: Marks of the custom Keywords whose prefixes have tokens, see `attribute_mark`.
        version: The version of the layout.
    """

    preset: Preset = "compatible"
    salts: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    bucket: int = 1
    length: int = 0
    prefixed: frozenset[str] = frozenset()
    version: int = VERSION

    @property
    def token_class(self) -> int:
        """The number of tokens of a document is a multiple of this."""
        return TOKEN_CLASS if self.preset == "strict" else 1

    @property
    def hides_start(self) -> bool:
        """Whether the start bucket of a closed run is only an upper bound."""
        return self.profile("StartTime", BUILT_IN["StartTime"].type).upper_bound

    def profile(self, name: str, attribute_type: AttributeType) -> Profile:
        """Return which tokens a document of this layout has for an attribute that is not among the `prefixed` ones."""
        attribute = BUILT_IN.get(name) or CUSTOM_FIELDS[attribute_type]
        profile = (attribute.strict or attribute.compatible) if self.preset == "strict" else attribute.compatible
        is_coarse = self.version == _COARSE_VERSION and profile.ranges == "magnitude"
        return _with_coarse_leaves(profile) if is_coarse else profile

    def column(self, name: str) -> str | None:
        """Return the PostgreSQL column of an attribute's equality token, or None if the token is in the token set."""
        return HASHED.get(name) if self.preset == "compatible" else None

    def has_group_tokens(self, name: str, attribute_type: AttributeType) -> bool:
        """Return whether the index can count the values of an attribute, because each value has a group token."""
        return self.preset == "compatible" and name != "ExecutionStatus" and is_groupable(name, attribute_type)

    def __str__(self) -> str:
        """Return the text that `parse_layout` reads."""
        parameters = [f"bucket={self.bucket}", f"length={self.length}"] if self.preset == "strict" else []
        salts = (f"{status}={count}" for status, count in sorted(self.salts.items()))
        chosen = _PREFIXES + ",".join(sorted(self.prefixed)) if self.prefixed else ""
        return " ".join([self.preset, str(self.version), *parameters, *salts]) + chosen


@lru_cache(maxsize=64)
def _with_coarse_leaves(profile: Profile) -> Profile:
    return replace(profile, ranges="coarse magnitude")


def new_layout(
    preset: str,
    statuses: Mapping[str, int] | None = None,
    *,
    bucket: str | None = None,
    length: str | None = None,
) -> Layout:
    """Return a layout for a new epoch.

    Args:
        preset: Name of the preset.
        statuses: Number of runs of each status, which decides the number of salts; None for the usual shares.
        bucket: Size of a time bucket, one of `BUCKETS`; None for an hour. Only for `strict`.
        length: Shortest length of a record, one of `LENGTHS`; None for 1 KiB. Only for `strict`.

    Raises:
        InvalidPersistenceRequest: There is no such preset, bucket or length, or the preset `compatible` does not have it.
    """
    if preset not in PRESETS:
        raise InvalidPersistenceRequest(f"unknown index preset; use one of {', '.join(PRESETS)}")
    if preset == "compatible":
        if bucket is not None or length is not None:
            raise InvalidPersistenceRequest(
                "only the preset strict has a bucket and a record length; leave them out, or use strict"
            )
        return Layout()
    size, shortest = BUCKETS.get(bucket or USUAL_BUCKET), LENGTHS.get(length or USUAL_LENGTH)
    if size is None:
        raise InvalidPersistenceRequest(f"unknown time bucket; use one of {', '.join(BUCKETS)}")
    if shortest is None:
        raise InvalidPersistenceRequest(f"unknown record length; use one of {', '.join(LENGTHS)}")
    return Layout("strict", _salts(statuses), size, shortest)


def _salts(statuses: Mapping[str, int] | None) -> Mapping[str, int]:
    runs = sum(statuses.values()) if statuses else 0
    if not statuses or runs < SALTS:
        return USUAL_SALTS
    shares = {status: round(SALTS * count / runs) for status, count in statuses.items() if status in STATUS_NAMES}
    return MappingProxyType({status: count for status, count in shares.items() if count > 1})


@lru_cache(maxsize=1024)
def parse_layout(text: str) -> Layout:
    """Return the layout that the registry stores as text.

    Raises:
        DataLoss: This version does not know the layout.
    """
    described, _, marks = text.partition(_PREFIXES)
    prefixed = frozenset(marks.split(",")) if marks else frozenset()
    layout = _without_prefixes(described)
    if layout is not None and all(map(_MARK.fullmatch, prefixed)):
        layout = replace(layout, prefixed=prefixed)
        if str(layout) == text:
            return layout
    msg = "unknown layout of a visibility index; a newer version of strongroom may have written it"
    raise DataLoss(msg)


def _without_prefixes(text: str) -> Layout | None:
    """Return the layout of a text that names no Keywords; None if it is not known."""
    preset, _, rest = text.partition(" ")
    number, _, rest = rest.partition(" ")
    version = next((each for each in (VERSION, _COARSE_VERSION) if number == str(each)), None)
    if version is None or preset not in PRESETS:
        return None
    if preset == "compatible":
        return Layout(version=version)
    pairs = [
        (name, int(count)) for name, _, count in (each.partition("=") for each in rest.split(" ")) if count.isdecimal()
    ]
    sizes, salts = dict(pairs[:_PARAMETERS]), MappingProxyType(dict(pairs[_PARAMETERS:]))
    bucket, length = sizes.get("bucket", 0), sizes.get("length", 0)
    is_known = bucket in BUCKETS.values() and length in LENGTHS.values() and salts.keys() <= set(STATUS_NAMES)
    return Layout("strict", salts, bucket, length, version=version) if is_known else None


def attribute_mark(keys: NamespaceKeys | IdentityKeys, name: str) -> str:
    """Return the mark of an attribute in a layout: a keyed token of its name. It is the same in all epochs."""
    return keys.identity("visibility attribute").token(name.encode("utf-8", "surrogatepass"))[:8].hex()


def prefixed_names(names: Iterable[str], types: SearchAttributes) -> list[str]:
    """Return the names of the custom Keywords that are chosen for tokens of their prefixes, without duplicates and aliases.

    Args:
        names: The names of the Keywords, or their aliases.
        types: The namespace's custom search attributes.

    Raises:
        InvalidPersistenceRequest: A name is not that of a custom Keyword, or there are too many.
    """
    named = [(types.get(name), name) for name in names]
    chosen = list(dict.fromkeys(found.name if isinstance(found, Attribute) else name for found, name in named))
    if any(name in BUILT_IN or stored_type(name, types) is not AttributeType.KEYWORD for name in chosen):
        raise InvalidPersistenceRequest(
            "prefixes are for custom search attributes of the type Keyword; `strongroom namespace attributes` lists them. "
            "With a Temporal server, name the field of the attribute, for example Keyword01"
        )
    if len(chosen) > MOST_PREFIXED:
        raise InvalidPersistenceRequest(f"at most {MOST_PREFIXED} Keywords can have tokens of their prefixes")
    return chosen


def with_prefixes(
    layout: Layout, keys: NamespaceKeys | IdentityKeys, names: Iterable[str], types: SearchAttributes
) -> Layout:
    """Return a layout in which the prefixes of some custom Keywords have tokens, and of no others.

    Args:
        layout: The layout.
        keys: The keys of the namespace.
        names: As for `prefixed_names`.
        types: The namespace's custom search attributes.

    Raises:
        InvalidPersistenceRequest: See `prefixed_names`.
    """
    return replace(layout, prefixed=frozenset(attribute_mark(keys, name) for name in prefixed_names(names, types)))


def newest_layout(layout: Layout) -> Layout:
    """Return the same layout in the version of new ones, for the next epoch."""
    return replace(layout, version=VERSION)


def active_layout(keys: NamespaceKeys) -> Layout:
    """Return the layout of the epoch that new documents have."""
    return parse_layout(keys.layout(keys.active_version(KeyClass.INDEX)))


def coarsest_bucket(keys: NamespaceKeys) -> int:
    """Return the size of the largest time bucket of any epoch, in seconds. Documents are in the order of these buckets."""
    return max(parse_layout(keys.layout(epoch)).bucket for epoch in keys.epochs())


def has_one_order(keys: NamespaceKeys) -> bool:
    """Return whether a document keeps its place in the index when it is rewritten.

    While a rotation changes the buckets, it moves, and may move past a search that reads in several requests. Such a search needs a
    snapshot.
    """
    layouts = [parse_layout(keys.layout(epoch)) for epoch in keys.epochs()]
    return len({(layout.bucket, layout.hides_start) for layout in layouts}) == 1
