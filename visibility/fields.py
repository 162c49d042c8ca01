"""The content of the index for each attribute, and what it reveals. A security reviewer needs only this table.

A *profile* names the tokens that the index holds of a value. `tokens.py` makes them, and `compiler.py` searches for them. A
namespace has one of two presets. With `compatible` the index can answer every legal filter. `strict` reveals less, so more
documents are opened. Each attribute of each namespace has its own token key, so tokens of different attributes or namespaces
can't be compared. Within one attribute of one namespace they reveal what the column "leakage" says. `benchmarks/leakage` measures it.

With `compatible`, a token shows that a document has an optional attribute. If a run is its own root, one token for each root id
states this and replaces the other tokens. If the first task of a run was due at its start, the same holds for ExecutionTime. With
`strict`, a run that is its own root has no token of its root, and meaningless tokens fill each token set up to a multiple of
`layout.TOKEN_CLASS`. The record itself is always sealed, with its memo and the names of its attributes.

Leakage of a snapshot of the index, without keys:

    classes   Which documents share a value, and how many documents each value has. Never the value.
    prefixes  As classes; also which values share their first 1, 2, 3, 4, 8, 16 or 32 bytes.
    beginnings As classes; also, for each pair of values, how many of their first 16 bytes they share, and whether they share 24 or 32.
              With the option `--prefixes` only. An attacker who knows how common values and prefixes are can name more of them.
    magnitude For each pair of values, the level of the range tree down to which they share a node. Neither values nor order.
    words     Which documents share a word, and how often words occur together. Never the word.
    salted    Each token has about as many documents as any other, as long as the shares of the values match the salts.
    dispersed Documents of one value rarely share a token: it has 256 of them. A value of several hundred documents shows as classes.
    nothing   Only the number of documents.
    plain     The value, for anyone who knows how common each value is: there are too few values for tokens to hide them.
    seconds   The time, rounded down to a second.
    bucket    The time, rounded down to the layout's bucket: an hour unless another one is chosen.
    open      The bucket of the start, of open runs. Of a closed run only that it is not later than the bucket of its close.

Columns of a row that belong to no attribute reveal more: the length of the record (`compatible`: its order of magnitude after
compression; `strict`: one of few classes, uncompressed), the number of tokens (`strict`: a multiple of eight), the shard, and the
version: how often the record changed, or under a Temporal server the order of the changes in a shard. Other tables have rows of the
same runs (docs/reference/schema.md); a thief who has them counts a run's rows there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from .attributes import AttributeType

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_PREFIXES = (1, 2, 3, 4, 8, 16, 32)
"""Lengths, in bytes of UTF-8, at which the prefix of an id has its own token."""
ORDERED_BYTES = 16
"""Number of first bytes of a Keyword of the profile "prefixed" that the index has the order of."""
ALL_PREFIXES = (*range(1, ORDERED_BYTES + 1), 24, 32)
"""Lengths, in bytes of UTF-8, of the prefixes of such a Keyword that have a token."""
ID_SALTS = 256
"""Number of equality tokens of an id in the preset `strict`. A search for the id asks for all of them."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The tokens that the index holds of a value.

    Attributes:
        name: Name in messages and in `query --explain`.
        leakage: What the tokens reveal; see the head of this file.
        always: Whether every run has a value.
        present: Whether an optional attribute has a token for "has a value". Numbers and times need none, because each has one of
            the few nodes at the top of its range tree; a Bool needs none, because it has one of two values.
        equality: Whether each distinct value (of a list: each element) has a token.
        prefixes: Lengths, in bytes, of the prefixes with a token. A value has such a token only if it is longer than the prefix.
        includes_whole: Whether a value has the token of a prefix that is the whole value too.
        ranges: The range tree of the tokens: magnitudes for numbers, coarse ones in layouts of version 3, and seconds for times; None
            for no range tokens.
        words: Whether each distinct word has a token.
        bucket: The column in clear that holds the time, rounded down to a second; None for no such column.
        upper_bound: Whether the bucket of a closed run is only an upper bound: the later one of both buckets.
        salted: Whether the equality token is one of several; `layout.py` has the number of each status.
        salts: Number of equality tokens of each value; 0 if `salted` does not hold or the layout has the numbers.
        same_as: An attribute that every run has. If both values are equal, there are no other tokens.
        hides_same: Whether no token shows that both values are equal.
    """

    name: str
    leakage: str
    always: bool = False
    present: bool = True
    equality: bool = False
    prefixes: tuple[int, ...] = ()
    includes_whole: bool = False
    ranges: Literal["magnitude", "coarse magnitude", "seconds"] | None = None
    words: bool = False
    bucket: Literal["b1", "b2"] | None = None
    upper_bound: bool = False
    salted: bool = False
    salts: int = 0
    same_as: str | None = None
    hides_same: bool = False


EQUALITY = Profile("equality", "classes", equality=True)
IDENTIFIER = Profile("identifier", "prefixes", equality=True, prefixes=ID_PREFIXES)
PREFIXED = Profile("prefixed", "beginnings", equality=True, prefixes=ALL_PREFIXES, includes_whole=True)
"""The profile of a custom Keyword that a namespace chose for prefixes and ranges with the option `--prefixes`, in both presets."""
FEW_VALUES = Profile("few values", "plain", equality=True)
FLAG = replace(FEW_VALUES, present=False)
SALTED = Profile("salted", "salted", equality=True, salted=True)
DISPERSED = Profile("dispersed", "dispersed", present=False, equality=True, salted=True, salts=ID_SALTS)
NUMBER = Profile("number", "magnitude", present=False, equality=True, ranges="magnitude")
TIME = Profile("time", "magnitude", present=False, ranges="seconds")
WORDS = Profile("words", "words", words=True)
CLOSE_BUCKET = Profile("seconds", "seconds", present=False, bucket="b1")
START_BUCKET = Profile("seconds", "seconds", always=True, bucket="b2")
CLOSE_COARSE = Profile("bucket", "bucket", present=False, bucket="b1")
START_COARSE = Profile("bucket of open runs", "open", always=True, bucket="b2", upper_bound=True)
SEALED = Profile("sealed", "nothing", present=False)


def _always(profile: Profile) -> Profile:
    return replace(profile, always=True)


def _same_as(attribute: str, profile: Profile, *, hidden: bool = False) -> Profile:
    return replace(profile, same_as=attribute, hides_same=hidden)


@dataclass(frozen=True, slots=True)
class Field:
    """A system or predefined attribute.

    Attributes:
        type: The type of its values.
        compatible: Its profile in the preset `compatible`.
        strict: Its profile in the preset `strict`; None for the same profile.
    """

    type: AttributeType
    compatible: Profile
    strict: Profile | None = None


SYSTEM_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "WorkflowId": Field(AttributeType.KEYWORD, _always(IDENTIFIER), strict=_always(DISPERSED)),
        "RunId": Field(AttributeType.KEYWORD, _always(EQUALITY)),
        "WorkflowType": Field(AttributeType.KEYWORD, _always(EQUALITY), strict=_always(SEALED)),
        "ExecutionStatus": Field(AttributeType.KEYWORD, _always(FEW_VALUES), strict=_always(SALTED)),
        "TaskQueue": Field(AttributeType.KEYWORD, _always(EQUALITY), strict=_always(SEALED)),
        "ParentWorkflowId": Field(AttributeType.KEYWORD, IDENTIFIER, strict=DISPERSED),
        "ParentRunId": Field(AttributeType.KEYWORD, EQUALITY, strict=DISPERSED),
        "RootWorkflowId": Field(
            AttributeType.KEYWORD,
            _same_as("WorkflowId", IDENTIFIER),
            strict=_same_as("WorkflowId", DISPERSED, hidden=True),
        ),
        "RootRunId": Field(
            AttributeType.KEYWORD, _same_as("RunId", EQUALITY), strict=_same_as("RunId", DISPERSED, hidden=True)
        ),
        "StartTime": Field(AttributeType.DATETIME, START_BUCKET, strict=START_COARSE),
        "ExecutionTime": Field(AttributeType.DATETIME, _same_as("StartTime", _always(TIME)), strict=_always(SEALED)),
        "CloseTime": Field(AttributeType.DATETIME, CLOSE_BUCKET, strict=CLOSE_COARSE),
        "HistoryLength": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "HistorySizeBytes": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "ExecutionDuration": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "StateTransitionCount": Field(AttributeType.INT, NUMBER, strict=SEALED),
    }
)
"""Attributes that a service sets for each run."""

OF_CLOSED_RUNS = frozenset(
    {"CloseTime", "ExecutionDuration", "HistoryLength", "HistorySizeBytes", "StateTransitionCount"}
)
"""System attributes that only closed runs have. An open run that has one is refused, so a search for them can skip open runs."""

HASHED: Mapping[str, str] = MappingProxyType(
    {
        "WorkflowId": "h_workflow",
        "RunId": "h_run",
        "WorkflowType": "h_type",
        "ExecutionStatus": "h_status",
        "TaskQueue": "h_queue",
        "TemporalNamespaceDivision": "h_division",
    }
)
"""Attributes whose equality token has its own column in PostgreSQL, in the preset `compatible`.

Most filters name these attributes, and a column is found, sorted and counted without the token set. The column reveals which
attribute a token belongs to; without it a thief can only guess that from the number of tokens and how they occur together. It
reveals no value, and nothing about other attributes. In Elasticsearch, and in the preset `strict`, all tokens are in the token set.
"""

PREDEFINED_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "TemporalChangeVersion": Field(AttributeType.KEYWORD_LIST, EQUALITY, strict=SEALED),
        "BinaryChecksums": Field(AttributeType.KEYWORD_LIST, EQUALITY, strict=SEALED),
        "BuildIds": Field(AttributeType.KEYWORD_LIST, EQUALITY, strict=SEALED),
        "TemporalPauseInfo": Field(AttributeType.KEYWORD_LIST, EQUALITY, strict=SEALED),
        "TemporalReportedProblems": Field(AttributeType.KEYWORD_LIST, EQUALITY, strict=SEALED),
        "TemporalUsedWorkerDeploymentVersions": Field(AttributeType.KEYWORD_LIST, EQUALITY, strict=SEALED),
        "BatcherNamespace": Field(AttributeType.KEYWORD, EQUALITY, strict=SEALED),
        "BatcherUser": Field(AttributeType.KEYWORD, EQUALITY, strict=SEALED),
        "TemporalScheduledById": Field(AttributeType.KEYWORD, EQUALITY, strict=DISPERSED),
        "TemporalNamespaceDivision": Field(AttributeType.KEYWORD, FEW_VALUES),
        "TemporalWorkerDeployment": Field(AttributeType.KEYWORD, EQUALITY, strict=SEALED),
        "TemporalWorkerDeploymentVersion": Field(AttributeType.KEYWORD, EQUALITY, strict=SEALED),
        "TemporalWorkflowVersioningBehavior": Field(AttributeType.KEYWORD, EQUALITY, strict=SEALED),
        "TemporalScheduledStartTime": Field(AttributeType.DATETIME, TIME, strict=SEALED),
        "TemporalSchedulePaused": Field(AttributeType.BOOL, FLAG, strict=SEALED),
        "TemporalExternalPayloadCount": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "TemporalExternalPayloadSizeBytes": Field(AttributeType.INT, NUMBER, strict=SEALED),
    }
)
"""Attributes that a service or an SDK may set on a run. A record holds them among its custom search attributes."""

CUSTOM_FIELDS: Mapping[AttributeType, Field] = MappingProxyType(
    {
        field.type: field
        for field in (
            Field(AttributeType.KEYWORD, EQUALITY, strict=SEALED),
            Field(AttributeType.KEYWORD_LIST, EQUALITY, strict=SEALED),
            Field(AttributeType.TEXT, WORDS, strict=SEALED),
            Field(AttributeType.INT, NUMBER, strict=SEALED),
            Field(AttributeType.DOUBLE, NUMBER, strict=SEALED),
            Field(AttributeType.BOOL, FLAG, strict=SEALED),
            Field(AttributeType.DATETIME, TIME, strict=SEALED),
        )
    }
)
"""Custom search attributes, by type."""

_GROUPED_PREFIX = "TemporalLowCardinalityKeyword"


def is_groupable(name: str, attribute_type: AttributeType) -> bool:
    """Return whether GROUP BY takes an attribute, as in Temporal.

    With `compatible`, such an attribute has a group token for its value too. ExecutionStatus has none, because its values are known.
    A group token shows which attribute it belongs to, as a column does (see `HASHED`), so that the index can count its values.
    """
    return name in ("ExecutionStatus", "TemporalNamespaceDivision") or (
        name.startswith(_GROUPED_PREFIX) and attribute_type is AttributeType.KEYWORD
    )


NOT_SEARCHABLE = frozenset({"NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey"})
"""Reserved names, which can be neither registered nor searched."""

BUILT_IN: Mapping[str, Field] = MappingProxyType({**SYSTEM_FIELDS, **PREDEFINED_FIELDS})
"""All attributes that every namespace has."""
