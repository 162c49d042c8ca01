"""Runs of an order service, for the thief and for the victim: types that differ in duration, failures, memo, attributes and children.

The thief's runs are of a similar service: other ids, shares and durations changed by up to a fifth, one month earlier.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from strongroom.visibility import AttributeType, VisibilityRecord

if TYPE_CHECKING:
    from strongroom.visibility import AttributeValue

CUSTOM = {
    "CustomerId": AttributeType.KEYWORD,
    "Region": AttributeType.KEYWORD,
    "Stage": AttributeType.KEYWORD,
    "Items": AttributeType.INT,
    "Amount": AttributeType.DOUBLE,
    "Paid": AttributeType.BOOL,
    "Note": AttributeType.TEXT,
}
SECOND, DAY = 10**9, 86_400 * 10**9
END = 1_795_000_000 * SECOND
SPAN = 30 * DAY
NIGHT = 2 * 3600 * SECOND


class Kind(NamedTuple):
    """A workflow type: its share in percent, median duration in seconds, share of failures, and bytes of memo."""

    name: str
    share: float
    queue: str
    seconds: float
    failing: float
    memo: int
    is_child: bool = False
    is_cron: bool = False
    is_nightly: bool = False
    attributes: tuple[str, ...] = ()


KINDS = (
    Kind(
        "CheckoutWorkflow", 30, "orders", 40, 0.04, 120, attributes=("CustomerId", "Region", "Items", "Amount", "Paid")
    ),
    Kind("ChargeCard", 22, "payments", 3, 0.10, 60, is_child=True, attributes=("CustomerId", "Amount")),
    Kind("ShipOrder", 14, "shipping", 18_000, 0.02, 210, attributes=("CustomerId", "Region", "Stage")),
    Kind("SendEmail", 11, "mail", 1, 0.01, 40),
    Kind("RefundOrder", 6, "payments", 600, 0.05, 90, attributes=("CustomerId", "Amount", "Note")),
    Kind("SyncInventory", 6, "inventory", 20, 0.03, 50, is_cron=True, attributes=("Region",)),
    Kind("FraudReview", 4, "review", 100_000, 0.20, 260, is_child=True, attributes=("CustomerId", "Stage", "Note")),
    Kind("NightlyReport", 2, "reports", 900, 0.05, 70, is_nightly=True, attributes=("Region",)),
    Kind("ImportCatalog", 2, "inventory", 2_400, 0.30, 160, attributes=("Items",)),
    Kind("ReindexSearch", 1.5, "inventory", 300, 0.02, 30),
    Kind("CloseAccount", 1, "accounts", 150, 0.02, 110, attributes=("CustomerId",)),
    Kind("ExportArchive", 0.5, "reports", 5_000, 0.08, 2_400, attributes=("CustomerId",)),
)
UNDONE = (("Failed", 0.55, 0.5), ("TimedOut", 0.2, 6.0), ("Canceled", 0.15, 0.3), ("Terminated", 0.1, 1.5))
"""Statuses of runs that did not complete: share among them, and duration as a multiple of the type's."""


def runs(number: int, *, seed: int, similar: bool = False) -> list[VisibilityRecord]:
    """Return runs of the service, in the order of their start.

    Args:
        number: The number of runs.
        seed: The seed of the runs.
        similar: Whether they are of the similar service, whose data the thief has.
    """
    rng = random.Random(seed)
    shares = [kind.share * (rng.uniform(0.8, 1.2) if similar else 1) for kind in KINDS]
    slower = [rng.uniform(0.8, 1.2) if similar else 1.0 for _ in KINDS]
    end = END - SPAN * similar
    starts = sorted(end - rng.randrange(SPAN) for _ in range(number))
    chosen = rng.choices(range(len(KINDS)), shares, k=number)
    parents = [("batch-" + str(rng.randrange(number // 8 + 1)), _uuid(rng)) for _ in range(number // 8 + 1)]
    return [
        _run(rng, KINDS[place], slower[place], start, end, rng.choice(parents))
        for place, start in zip(chosen, starts, strict=True)
    ]


def _uuid(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def _run(
    rng: random.Random, kind: Kind, slower: float, start: int, end: int, parent: tuple[str, str]
) -> VisibilityRecord:
    if kind.is_nightly:
        start = start // DAY * DAY + NIGHT + rng.randrange(1200) * SECOND
    status, longer = "ContinuedAsNew" if kind.is_cron and rng.random() < 0.7 else "Completed", 1.0
    if rng.random() < kind.failing:
        status, _, longer = rng.choices(UNDONE, [share for _, share, _ in UNDONE])[0]
    duration = int(kind.seconds * slower * longer * math.exp(rng.gauss(0, 0.25)) * SECOND)
    is_open = start + duration > end
    run_id, workflow_id = _uuid(rng), f"{kind.queue}/{rng.randrange(10**9):09}"
    if kind.is_cron:
        workflow_id = f"{kind.queue}/cron-{rng.randrange(5)}"
    attributes = _attributes(rng, kind)
    if status == "Failed":
        attributes["TemporalReportedProblems"] = (
            "category=WorkflowTaskFailed",
            "cause=WorkflowTaskFailedCauseUnspecified",
        )
    closed = {
        "close_time": start + duration,
        "execution_duration": duration,
        "history_length": 5 + int(rng.lognormvariate(2.5, 0.8)),
        "history_size_bytes": int(rng.lognormvariate(8, 0.8)),
        "state_transition_count": rng.randrange(3, 60),
    }
    return VisibilityRecord(
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=kind.name,
        execution_status="Running" if is_open else status,
        task_queue=kind.queue,
        start_time=start,
        execution_time=start,
        parent_workflow_id=parent[0] if kind.is_child else None,
        parent_run_id=parent[1] if kind.is_child else None,
        root_workflow_id=parent[0] if kind.is_child else workflow_id,
        root_run_id=parent[1] if kind.is_child else run_id,
        search_attributes=attributes,
        memo=rng.randbytes(kind.memo).hex()[: int(kind.memo * rng.uniform(0.9, 1.1))].encode(),
        **({} if is_open else closed),
    )


def _attributes(rng: random.Random, kind: Kind) -> dict[str, AttributeValue]:
    values: dict[str, AttributeValue] = {
        "CustomerId": f"customer-{int(rng.paretovariate(1.2)) % 2000:05}",
        "Region": rng.choices(("eu-1", "us-1", "us-2", "ap-1"), (50, 30, 15, 5))[0],
        "Stage": rng.choice(("packed", "sent", "held", "done")),
        "Items": rng.randrange(1, 50),
        "Amount": round(rng.lognormvariate(4, 1), 2),
        "Paid": rng.random() < 0.8,
        "Note": " ".join(f"word{rng.randrange(300)}" for _ in range(6)),
    }
    return {name: values[name] for name in kind.attributes}
