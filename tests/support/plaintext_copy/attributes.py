"""Temporal's search attributes: names, types, and the fields of its Elasticsearch documents."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class InvalidFilter(Exception):  # noqa: N818 - the name says what is wrong
    """Temporal answers this filter with InvalidArgument.

    Attributes:
        kind: Temporal's kind of the error: "malformed", "unsupported" or "invalid".
    """

    def __init__(self, kind: str, reason: str):
        super().__init__(f"{kind}: {reason}")
        self.kind = kind


BUILT_IN: Mapping[str, str] = {
    name: kind
    for kind, names in {
        "Keyword": """WorkflowId RunId WorkflowType ExecutionStatus TaskQueue ParentWorkflowId ParentRunId RootWorkflowId
            RootRunId BatcherNamespace BatcherUser TemporalScheduledById TemporalNamespaceDivision
            TemporalWorkerDeployment TemporalWorkerDeploymentVersion TemporalWorkflowVersioningBehavior""",
        "KeywordList": """TemporalChangeVersion BinaryChecksums BuildIds TemporalPauseInfo TemporalReportedProblems
            TemporalUsedWorkerDeploymentVersions""",
        "Datetime": "StartTime ExecutionTime CloseTime TemporalScheduledStartTime",
        "Int": """HistoryLength HistorySizeBytes ExecutionDuration StateTransitionCount TemporalExternalPayloadCount
            TemporalExternalPayloadSizeBytes""",
        "Bool": "TemporalSchedulePaused",
    }.items()
    for name in names.split()
}
"""System and predefined attributes; their fields have the same names."""

KINDS = ("Keyword", "KeywordList", "Text", "Int", "Double", "Bool", "Datetime")
DIVISION = "TemporalNamespaceDivision"
LOW_CARDINALITY = "TemporalLowCardinalityKeyword"
_PREFIX = "Temporal"


@dataclass(frozen=True, slots=True)
class Attribute:
    """A search attribute.

    Attributes:
        name: The name in the namespace.
        kind: One of `KINDS`.
        field: The field in Temporal's document.
    """

    name: str
    kind: str
    field: str


class Attributes:
    """The attributes of one namespace: the built-in ones, and custom ones in pre-allocated fields, as Keyword01."""

    def __init__(self, custom: Mapping[str, object]):
        """Allocate fields.

        Args:
            custom: The kind of each custom attribute, as text or as an enum member with that value.
        """
        self._known = {name: Attribute(name, kind, name) for name, kind in BUILT_IN.items()}
        used: Counter[str] = Counter()
        for name, given in custom.items():
            kind = str(getattr(given, "value", given))
            if kind not in KINDS or name in BUILT_IN:
                raise ValueError(name)
            used[kind] += 1
            field = name if name.startswith(LOW_CARDINALITY) else f"{kind}{used[kind]:02}"
            self._known[name] = Attribute(name, kind, field)

    def __iter__(self):
        """Iterate over all attributes."""
        return iter(self._known.values())

    def __getitem__(self, name: str) -> Attribute:
        """Return the attribute of a name."""
        return self._known[name]

    def resolve(self, name: str) -> Attribute:
        """Return the attribute that a filter means by a name.

        Raises:
            InvalidFilter: There is no such attribute.
        """
        if name in self._known:
            return self._known[name]
        if name in ("ScheduleId", "TemporalScheduleId"):
            return self._known["WorkflowId"]
        other = name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else _PREFIX + name
        if other in BUILT_IN or (other in self._known and other.startswith(LOW_CARDINALITY)):
            return self._known[other]
        raise InvalidFilter("invalid", f"{name} is no search attribute")
