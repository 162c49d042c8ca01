"""The runs that the filters of `temporal_filters.json` are asked for."""

from __future__ import annotations

from types import MappingProxyType
from uuid import UUID

from strongroom.visibility import AttributeType, VisibilityRecord

TYPES = MappingProxyType(
    {
        "Keyword01": AttributeType.KEYWORD,
        "KeywordList01": AttributeType.KEYWORD_LIST,
        "Text01": AttributeType.TEXT,
        "Int01": AttributeType.INT,
        "Double01": AttributeType.DOUBLE,
        "Bool01": AttributeType.BOOL,
        "Datetime01": AttributeType.DATETIME,
    }
)
SECOND = 10**9
NOON = 1_698_330_600 * SECOND
"""2023-10-26T14:30:00Z."""


def _run(number, **fields):
    """Return a run. Fields with the name of a custom or predefined attribute are its search attributes."""
    own = {name: fields.pop(name) for name in list(fields) if name[0].isupper()}
    record = VisibilityRecord(
        workflow_id=f"workflow-{number}",
        run_id=str(UUID(int=number + 1)),
        workflow_type="ship",
        execution_status="Running",
        task_queue="orders",
        start_time=NOON + number * SECOND,
        execution_time=NOON + number * SECOND,
        search_attributes=own,
    )
    return record._replace(**fields)


def _closed(number, status, duration, **fields):
    """Return a run that is closed."""
    start = NOON + number * SECOND
    close = {"close_time": start + duration, "execution_duration": duration}
    sizes = {"history_length": 5 * number, "history_size_bytes": 100 * number, "state_transition_count": number}
    return _run(number, execution_status=status, **close, **sizes, **fields)


RUNS = (
    _run(0, Keyword01="a", Int01=1, Double01=1.0, Bool01=True, Datetime01=NOON, Text01="a", KeywordList01=("a", "b")),
    _run(1, Keyword01="b", Int01=2, Double01=1.5, Bool01=False, Datetime01=NOON + 123_456_789, Text01="Two words, a"),
    _run(2, Keyword01="true", Int01=3, Double01=-1.5, KeywordList01=("true",), Text01="true"),
    _run(3, Keyword01="A", Int01=-1, Double01=1000.0, Datetime01=0, KeywordList01=("b",)),
    _run(4, Keyword01="it's", Int01=0, Double01=92.82, Datetime01=NOON + SECOND // 10, Text01="größe"),
    _run(5, Keyword01="", Int01=2**63 - 1, Double01=0.0, Datetime01=NOON - 3_600 * SECOND),
    _run(6, Keyword01="a\\b", Int01=-(2**63), Datetime01=SECOND),
    _run(7, Keyword01="größe", Int01=7, Datetime01=NOON + 24 * 3_600 * SECOND),
    _run(8, execution_status="Paused", Keyword01="a*", Int01=1000),
    _run(9, parent_workflow_id="workflow-0", parent_run_id=str(UUID(int=1)), root_workflow_id="workflow-0"),
    _run(
        10,
        workflow_id="temporal-sys-scheduler:a",
        TemporalNamespaceDivision="TemporalScheduler",
        TemporalSchedulePaused=True,
    ),
    _run(11, workflow_id="temporal-sys-scheduler:a"),
    _run(
        12,
        workflow_id="a",
        TemporalScheduledById="a",
        TemporalScheduledStartTime=NOON,
        TemporalPauseInfo=("Workflow:a",),
    ),
    _run(13, TemporalNamespaceDivision="x", Int01=1, BatcherUser="a", BuildIds=("a", "b"), BinaryChecksums=("a",)),
    _run(14, TemporalChangeVersion=("a",), TemporalExternalPayloadCount=2, TemporalExternalPayloadSizeBytes=9),
    _run(
        15,
        TemporalWorkerDeployment="d",
        TemporalWorkerDeploymentVersion="d:1",
        TemporalWorkflowVersioningBehavior="Pinned",
    ),
    _closed(16, "Completed", 90, Int01=1, Keyword01="a"),
    _closed(17, "Failed", SECOND),
    _closed(18, "Canceled", 3_600 * SECOND),
    _closed(19, "Terminated", 3_723 * SECOND),
    _closed(20, "ContinuedAsNew", 86_400 * SECOND),
    _closed(21, "TimedOut", 0),
    _closed(22, "Completed", 5_400 * SECOND),
)
