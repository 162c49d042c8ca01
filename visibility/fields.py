"""What the index holds of each attribute, and what its thief learns: the one table for a security reviewer.

A *profile* says which tokens of a value stand in the index (`tokens.py` makes them, `compiler.py` asks for them). A namespace has
one of two presets: in `compatible` the index answers every legal filter, `strict` shows less and opens more. Tokens are keyed
with a key per namespace and attribute, so they are noise across namespaces and across attributes; within one attribute of one
namespace they show what the column "leakage" says, and no more. A document shows by a token that it has an attribute which it need
not have, unless the profile is `sealed`; a run that is its own root has one token that says so for each root id, and no others, and
one whose first task was due at its start has one that says so for ExecutionTime. The record itself, memo and attribute names
included, is sealed in every case.

leakage of a snapshot of the index, without keys
    classes   which documents share a value, and how many there are of each; never the value
    prefixes  classes, and which values agree in their first 4, 8, 16 or 32 bytes
    magnitude for each pair of values, how far down the tree of ranges they stay together; neither the value nor the order
    words     which documents share a word, and how often words occur together; never the word
    salted    about as many documents for each token, whatever the value, as long as the values are as common as the salts say
    nothing   how many documents there are
    plain     the value to anyone who knows how common each value is: so few values exist that tokens can't hide them
    seconds   the time itself, floored to a whole second
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from .attributes import AttributeType

if TYPE_CHECKING:
    from collections.abc import Mapping

ID_PREFIXES = (4, 8, 16, 32)
"""Lengths in UTF-8 bytes of the prefixes of an id that have a token of their own."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Which tokens stand in the index for a value.

    Attributes:
        name: by which messages and `query --explain` call it.
        leakage: what these show; the words are explained at the head of this file.
        always: every run has a value.
        present: one token where the attribute has a value, unless every run has one. A number or a time does without, as each has one
            of the few nodes at the top of its tree, and a Bool, as it has one of two values.
        equality: one token for each distinct value (of a list: for each element).
        prefixes: one token for each of these leading lengths, in bytes, that the value exceeds; of its own length the equality
            token says as much.
        full_prefix: a token for the prefix that is the whole value too, as documents of the first form have.
        ranges: tokens of a tree of ranges, of magnitudes (numbers) or of seconds (times); None for no range tokens.
        words: one token for each distinct word.
        bucket: the clear column that holds the time floored to a second; None for none.
        salted: the equality token is one of several, as many as the value is common (`layout.py`).
        same_as: an attribute that every run has; where the value is the same, one token says that, and there are no others.
    """

    name: str
    leakage: str
    always: bool = False
    present: bool = True
    equality: bool = False
    prefixes: tuple[int, ...] = ()
    full_prefix: bool = False
    ranges: Literal["magnitude", "seconds"] | None = None
    words: bool = False
    bucket: Literal["b1", "b2"] | None = None
    salted: bool = False
    same_as: str | None = None


EQUALITY = Profile("equality", "classes", equality=True)
IDENTIFIER = Profile("identifier", "prefixes", equality=True, prefixes=ID_PREFIXES)
FEW_VALUES = Profile("few values", "plain", equality=True)
FLAG = replace(FEW_VALUES, present=False)
SALTED = Profile("salted", "salted", equality=True, salted=True)
NUMBER = Profile("number", "magnitude", present=False, equality=True, ranges="magnitude")
TIME = Profile("time", "magnitude", present=False, ranges="seconds")
WORDS = Profile("words", "words", words=True)
CLOSE_BUCKET = Profile("seconds", "seconds", present=False, bucket="b1")
START_BUCKET = Profile("seconds", "seconds", always=True, bucket="b2")
SEALED = Profile("sealed", "nothing", present=False)


@cache
def first_form(profile: Profile) -> Profile:
    """Return what documents of the first form hold where those of the second have a profile (`layout.py`)."""
    return replace(
        profile,
        present=profile.equality or profile.words or profile.ranges is not None,
        full_prefix=bool(profile.prefixes),
        same_as=None if profile.same_as == "StartTime" else profile.same_as,
    )


def _always(profile: Profile) -> Profile:
    return replace(profile, always=True)


def _same_as(attribute: str, profile: Profile) -> Profile:
    return replace(profile, same_as=attribute)


@dataclass(frozen=True, slots=True)
class Field:
    """A system or predefined attribute.

    Attributes:
        type: of its values.
        compatible: what the index holds of it in the preset of this name.
        strict: the same; None for what `compatible` has.
    """

    type: AttributeType
    compatible: Profile
    strict: Profile | None = None


SYSTEM_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "WorkflowId": Field(AttributeType.KEYWORD, _always(IDENTIFIER), strict=_always(EQUALITY)),
        "RunId": Field(AttributeType.KEYWORD, _always(EQUALITY)),
        "WorkflowType": Field(AttributeType.KEYWORD, _always(EQUALITY)),
        "ExecutionStatus": Field(AttributeType.KEYWORD, _always(FEW_VALUES), strict=_always(SALTED)),
        "TaskQueue": Field(AttributeType.KEYWORD, _always(EQUALITY)),
        "ParentWorkflowId": Field(AttributeType.KEYWORD, IDENTIFIER, strict=EQUALITY),
        "ParentRunId": Field(AttributeType.KEYWORD, EQUALITY),
        "RootWorkflowId": Field(
            AttributeType.KEYWORD, _same_as("WorkflowId", IDENTIFIER), strict=_same_as("WorkflowId", EQUALITY)
        ),
        "RootRunId": Field(AttributeType.KEYWORD, _same_as("RunId", EQUALITY)),
        "StartTime": Field(AttributeType.DATETIME, START_BUCKET),
        "ExecutionTime": Field(AttributeType.DATETIME, _same_as("StartTime", _always(TIME))),
        "CloseTime": Field(AttributeType.DATETIME, CLOSE_BUCKET),
        "HistoryLength": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "HistorySizeBytes": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "ExecutionDuration": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "StateTransitionCount": Field(AttributeType.INT, NUMBER, strict=SEALED),
    }
)
"""Attributes that a service fills in for each run."""

OF_CLOSED_RUNS = frozenset(
    {"CloseTime", "ExecutionDuration", "HistoryLength", "HistorySizeBytes", "StateTransitionCount"}
)
"""Of these, what no run has that is open: a record that says otherwise is refused, so an index may leave out all open runs."""

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
"""Attributes whose equality tokens stand in columns of their own in PostgreSQL, in the preset `compatible`: what nearly all filters
name is found, ordered and counted there without the bag. A thief of that table learns which attribute such a token is of, which he
would otherwise have to guess from how many tokens there are, how common, and which of them never meet. He learns no value, and of no
other attribute. An index in Elasticsearch has all tokens in one bag. In `strict` they stay in the bag here too: that preset is for who
would rather have slower counts than show what may as well not be shown."""

PREDEFINED_FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "TemporalChangeVersion": Field(AttributeType.KEYWORD_LIST, EQUALITY),
        "BinaryChecksums": Field(AttributeType.KEYWORD_LIST, EQUALITY),
        "BuildIds": Field(AttributeType.KEYWORD_LIST, EQUALITY),
        "TemporalPauseInfo": Field(AttributeType.KEYWORD_LIST, EQUALITY),
        "TemporalReportedProblems": Field(AttributeType.KEYWORD_LIST, EQUALITY),
        "TemporalUsedWorkerDeploymentVersions": Field(AttributeType.KEYWORD_LIST, EQUALITY),
        "BatcherNamespace": Field(AttributeType.KEYWORD, EQUALITY),
        "BatcherUser": Field(AttributeType.KEYWORD, EQUALITY),
        "TemporalScheduledById": Field(AttributeType.KEYWORD, EQUALITY),
        "TemporalNamespaceDivision": Field(AttributeType.KEYWORD, FEW_VALUES),
        "TemporalWorkerDeployment": Field(AttributeType.KEYWORD, EQUALITY),
        "TemporalWorkerDeploymentVersion": Field(AttributeType.KEYWORD, EQUALITY),
        "TemporalWorkflowVersioningBehavior": Field(AttributeType.KEYWORD, EQUALITY),
        "TemporalScheduledStartTime": Field(AttributeType.DATETIME, TIME),
        "TemporalSchedulePaused": Field(AttributeType.BOOL, FLAG, strict=SEALED),
        "TemporalExternalPayloadCount": Field(AttributeType.INT, NUMBER, strict=SEALED),
        "TemporalExternalPayloadSizeBytes": Field(AttributeType.INT, NUMBER, strict=SEALED),
    }
)
"""Attributes that a service or an SDK may set on a run; they travel with its custom search attributes."""

CUSTOM_FIELDS: Mapping[AttributeType, Field] = MappingProxyType(
    {
        field.type: field
        for field in (
            Field(AttributeType.KEYWORD, EQUALITY),
            Field(AttributeType.KEYWORD_LIST, EQUALITY),
            Field(AttributeType.TEXT, WORDS, strict=SEALED),
            Field(AttributeType.INT, NUMBER, strict=SEALED),
            Field(AttributeType.DOUBLE, NUMBER, strict=SEALED),
            Field(AttributeType.BOOL, FLAG, strict=SEALED),
            Field(AttributeType.DATETIME, TIME, strict=SEALED),
        )
    }
)
"""An attribute that a namespace registered, by its type."""

NOT_SEARCHABLE = frozenset({"NamespaceId", "Memo", "MemoEncoding", "VisibilityTaskKey"})
"""Names that are reserved, and can be neither registered nor searched."""

BUILT_IN: Mapping[str, Field] = MappingProxyType({**SYSTEM_FIELDS, **PREDEFINED_FIELDS})
"""All names that every namespace knows."""
