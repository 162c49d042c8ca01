"""Report what the index would reveal of a namespace's own runs in each preset, and what searches would cost, attribute by attribute.

All rows are read, in pages. A random sample of them is opened, so memory does not depend on the number of runs.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.sealing.packing import pack
from strongroom.kms.sealing.record_kinds import VISIBILITY_RECORD
from strongroom.visibility.attributes import AttributeType
from strongroom.visibility.fields import BUILT_IN, CUSTOM_FIELDS, OF_CLOSED_RUNS
from strongroom.visibility.index.buckets import OPEN_RUN
from strongroom.visibility.index.layout import BUCKETS, LENGTHS, PRESETS, active_layout, attribute_mark, new_layout
from strongroom.visibility.index.record_packing import filled_length, pack_record
from strongroom.visibility.index.words import split_words
from strongroom.visibility.namespace_attributes import stored_type

from .prefix_advice import prefix_advice
from .token_verifier import PIECE, open_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring
    from strongroom.storage import Row, VisibilityEpochs
    from strongroom.visibility.fields import Profile
    from strongroom.visibility.filter.tree import SearchAttributes
    from strongroom.visibility.index.record import AttributeValue, VisibilityRecord

    from .prefix_advice import PrefixAdvice
    from .sweep import Progress

SAMPLE = 10_000
"""Number of runs that are opened, unless another one is given."""
_PAGE = 1000
_COUNTED = ("1h", "6h", "1d")
"""Buckets whose runs are counted."""
_SEPARATE = 2
"""A value shows if each of its tokens has this many documents: then they form classes."""


@dataclass(frozen=True, slots=True)
class PresetAdvice:
    """What one preset reveals of an attribute, and what it costs.

    Attributes:
        profile: Name of the profile, see `fields.py`.
        leakage: What its tokens reveal, in the words of `fields.py`.
        recovered: Share of the values that an attacker recognises from the tokens of this attribute, if they know how common each is.
            None for times in clear buckets.
        opened: Number of runs that a count by one value opens.
    """

    profile: str
    leakage: str
    recovered: float | None
    opened: int


@dataclass(frozen=True, slots=True)
class AttributeAdvice:
    """The distribution of an attribute in the sample, and what each preset would make of it.

    Attributes:
        name: The name of the attribute.
        type: The type of its values.
        present: Share of the runs that have a value.
        values: Number of different values, elements or words.
        commonest: Share of the commonest one.
        presets: What each preset reveals and costs, by its name.
        prefixes: What the tokens of all prefixes would reveal and cost; None unless it is a custom Keyword.
    """

    name: str
    type: AttributeType
    present: float
    values: int
    commonest: float
    presets: Mapping[str, PresetAdvice]
    prefixes: PrefixAdvice | None


@dataclass(frozen=True, slots=True)
class BucketAdvice:
    """The runs of one size of time buckets. A page of a list opens all runs of the buckets that it touches.

    Attributes:
        size: The size, see `layout.BUCKETS`.
        mean: Mean number of closed runs of a bucket that has any.
        greatest: Greatest number of closed runs of a bucket.
    """

    size: str
    mean: float
    greatest: int


@dataclass(frozen=True, slots=True)
class LengthAdvice:
    """The lengths of records with one shortest length.

    Attributes:
        shortest: The shortest length, see `layout.LENGTHS`; "compatible" for compressed records.
        classes: Number of different lengths in the sample.
        commonest: Share of the commonest length. The nearer to 1, the less a length shows.
        mean: Mean length of a record in bytes.
    """

    shortest: str
    classes: int
    commonest: float
    mean: float


@dataclass(frozen=True, slots=True)
class Advice:
    """The advice for a namespace.

    Attributes:
        runs: Number of runs.
        sampled: Number of runs that were opened. If there are more runs, all shares are estimates.
        unreadable: Number of runs of the sample that do not open.
        preset: The present preset.
        attributes: The attributes that occur in the sample.
        buckets: The time buckets.
        lengths: The lengths of records.
    """

    runs: int
    sampled: int
    unreadable: int
    preset: str
    attributes: tuple[AttributeAdvice, ...]
    buckets: tuple[BucketAdvice, ...]
    lengths: tuple[LengthAdvice, ...]


class IndexAdviser:
    """Advises on the presets of one namespace per call.

    Args:
        records: The records of all namespaces.
        keyring: The keys of the namespaces.
        sample: Maximum number of runs to open.
    """

    def __init__(self, records: VisibilityEpochs, keyring: Keyring, *, sample: int = SAMPLE) -> None:
        self._records = records
        self._keyring = keyring
        self._sample = sample

    async def advise(self, namespace_id: UUID, types: SearchAttributes, *, progress: Progress | None = None) -> Advice:
        """Return the advice for a namespace. Services may write at the same time.

        Args:
            namespace_id: The namespace.
            types: The namespace's custom search attributes.
            progress: Called with the number of rows that were read.

        Raises:
            KmsError, StorageError: Keys or database are unavailable.
        """
        keys = await self._keyring.open(namespace_id)
        layout = active_layout(keys)
        sample: list[Row] = []
        hours: Counter[int] = Counter()
        runs = 0
        rng = random.Random(0)  # noqa: S311 - which rows are in the sample, no secret
        async for rows in self._records.others(namespace_id, 0, piece=_PAGE):
            for row in rows:
                runs += 1
                if row["b1"] != OPEN_RUN:
                    hours[row["b1"] // BUCKETS["1h"]] += 1
                if len(sample) < self._sample:
                    sample.append(row)
                elif (place := rng.randrange(runs)) < self._sample:
                    sample[place] = row
            if progress is not None:
                progress(runs)
        records = await self._opened(namespace_id, sample)
        return Advice(
            runs=runs,
            sampled=len(sample),
            unreadable=len(sample) - len(records),
            preset=layout.preset,
            attributes=_attributes(records, types, runs, lambda name: attribute_mark(keys, name) in layout.prefixed),
            buckets=tuple(_bucket(size, hours) for size in _COUNTED),
            lengths=_lengths(records),
        )

    async def _opened(self, namespace_id: UUID, rows: Sequence[Row]) -> list[VisibilityRecord]:
        records: list[VisibilityRecord] = []
        for start in range(0, len(rows), PIECE):
            opened = await open_each(self._keyring, namespace_id, rows[start : start + PIECE])
            records += [record for _, record in opened]
            await asyncio.sleep(0)
        return records


def _attributes(
    records: Sequence[VisibilityRecord], types: SearchAttributes, runs: int, is_chosen: Callable[[str], bool]
) -> tuple[AttributeAdvice, ...]:
    counts: dict[str, Counter[object]] = defaultdict(Counter)
    present: Counter[str] = Counter()
    for record in records:
        for name, value in record.attributes().items():
            present[name] += 1
            counts[name].update(_parts(_type_of(name, types), value))
    names = [*(name for name in BUILT_IN if name in counts), *sorted(counts.keys() - BUILT_IN.keys())]
    scale = runs / len(records) if records else 1.0
    of_all = len(records), scale
    return tuple(
        _attribute(name, _type_of(name, types), counts[name], present[name], *of_all, chosen=is_chosen(name))
        for name in names
    )


def _type_of(name: str, types: SearchAttributes) -> AttributeType:
    if name in BUILT_IN:
        return BUILT_IN[name].type
    return stored_type(name, types) or AttributeType.KEYWORD


def _parts(attribute_type: AttributeType, value: AttributeValue) -> Iterable[object]:
    """Return the values that have tokens: a value, the elements of a list, or the words of a text."""
    if attribute_type is AttributeType.TEXT:
        return split_words(str(value))
    return value if isinstance(value, tuple) else (value,)


def _attribute(
    name: str, kind: AttributeType, counts: Counter[object], present: int, records: int, scale: float, *, chosen: bool
) -> AttributeAdvice:
    field = BUILT_IN.get(name) or CUSTOM_FIELDS[kind]
    possible = present if field.compatible.always or name in OF_CLOSED_RUNS else records
    has_prefixes = kind is AttributeType.KEYWORD and name not in BUILT_IN
    return AttributeAdvice(
        name=name,
        type=kind,
        present=present / records,
        values=len(counts),
        commonest=_commonest(counts),
        presets={
            preset: _preset(new_layout(preset).profile(name, kind), counts, round(possible * scale), scale)
            for preset in PRESETS
        },
        prefixes=prefix_advice(counts, present / records, chosen=chosen) if has_prefixes else None,
    )


def _preset(profile: Profile, counts: Counter[object], possible: int, scale: float) -> PresetAdvice:
    is_indexed = profile.equality or profile.words or profile.ranges is not None or profile.bucket is not None
    recovered = None if profile.bucket is not None else _recovered(profile, counts, scale)
    return PresetAdvice(
        profile.name, profile.leakage, recovered, 0 if is_indexed and not profile.upper_bound else possible
    )


def _recovered(profile: Profile, counts: Counter[object], scale: float) -> float:
    """Return the share of values that an attacker recognises by matching the numbers of documents with the numbers that they know.

    Of several values with the same number, one match is right on average. Without tokens, they name the commonest value.
    """
    if profile.leakage == "plain":
        return 1.0
    if not (profile.equality or profile.words or profile.ranges) or (profile.salted and not profile.salts):
        return _commonest(counts)
    least = _SEPARATE * profile.salts / scale
    matched = sum(count for count in set(counts.values()) if count >= least)
    return max(matched / counts.total(), _commonest(counts))


def _commonest(counts: Counter[object]) -> float:
    return max(counts.values()) / counts.total()


def _bucket(size: str, hours: Counter[int]) -> BucketAdvice:
    counts: Counter[int] = Counter()
    for hour, closed in hours.items():
        counts[hour * BUCKETS["1h"] // BUCKETS[size]] += closed
    return BucketAdvice(size, counts.total() / len(counts) if counts else 0.0, max(counts.values(), default=0))


def _lengths(records: Sequence[VisibilityRecord]) -> tuple[LengthAdvice, ...]:
    parts = [pack_record(record) for record in records]
    found = {"compatible": [len(pack(VISIBILITY_RECORD, each)[1]) for each in parts]}
    for name, shortest in LENGTHS.items():
        found[name] = [filled_length(sum(map(len, each)), shortest) for each in parts]
    return tuple(
        LengthAdvice(name, len(set(lengths)), _commonest(Counter(lengths)), sum(lengths) / len(lengths))
        for name, lengths in found.items()
        if lengths
    )
