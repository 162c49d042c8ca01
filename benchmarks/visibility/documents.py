"""Seeded runs like a busy service's: 90 % completed, Zipf types, ids like `order/web/00012`, eight custom attributes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Iterator

CUSTOM = {
    "CustomerId": "Keyword",
    "Region": "Keyword",
    "Tags": "KeywordList",
    "Note": "Text",
    "Items": "Int",
    "Amount": "Double",
    "Paid": "Bool",
    "DueBy": "Datetime",
    "TemporalLowCardinalityKeywordTier": "Keyword",
}
STATUSES = ("Completed", "Running", "Failed", "ContinuedAsNew", "Canceled", "Terminated", "TimedOut")
SHARES = (90, 5, 2, 1, 1, 0.5, 0.5)
TYPES = tuple(f"{verb}{noun}Workflow" for verb in ("Ship", "Charge", "Refund", "Sync") for noun in map(str, range(50)))
WORDS = tuple(f"word{number}" for number in range(400))
SECOND = 10**9
END = 1_795_000_000 * SECOND
SPAN = 30 * 86_400 * SECOND


def documents(number: int, *, seed: int = 1, tiers: int = 0) -> Iterator[dict[str, Any]]:
    """Yield documents in the form of `tests.support.plaintext_copy`: values by attribute, and `Memo`.

    Args:
        number: Number of documents.
        seed: Seed of the random generator.
        tiers: Number of values of the attribute for GROUP BY; 0 for documents without it.
    """
    rng = random.Random(seed)
    zipf = [1 / (rank + 1) for rank in range(len(TYPES))]
    for place in range(number):
        status = rng.choices(STATUSES, SHARES)[0]
        start = END - rng.randrange(SPAN)
        run_id = str(UUID(int=rng.getrandbits(128), version=4))
        workflow_id = f"order/{rng.choice(('web', 'app', 'pos'))}/{place:06}"
        document: dict[str, Any] = {
            "WorkflowId": workflow_id,
            "RunId": run_id,
            "WorkflowType": rng.choices(TYPES, zipf)[0],
            "ExecutionStatus": status,
            "TaskQueue": f"queue-{rng.randrange(20)}",
            "StartTime": start,
            "ExecutionTime": start,
            "RootWorkflowId": workflow_id,
            "RootRunId": run_id,
            "CustomerId": f"cust-{rng.randrange(2000):05}",
            "Region": rng.choice(("eu-1", "eu-2", "us-1", "us-2", "ap-1")),
            "Amount": round(rng.lognormvariate(4, 1), 2),
            "Paid": rng.random() < 0.8,
            "Items": rng.randrange(1, 50),
        }
        if status != "Running":
            duration = int(rng.lognormvariate(4, 1.5) * SECOND)
            document |= {
                "CloseTime": start + duration,
                "ExecutionDuration": duration,
                "HistoryLength": int(rng.lognormvariate(4, 1)) + 3,
                "HistorySizeBytes": int(rng.lognormvariate(9, 1)),
                "StateTransitionCount": rng.randrange(3, 60),
            }
        if rng.random() < 0.2:
            document |= {
                "ParentWorkflowId": f"batch/{rng.randrange(300):05}",
                "ParentRunId": str(UUID(int=rng.getrandbits(128))),
            }
            document |= {"DueBy": start + rng.randrange(SPAN), "Note": " ".join(rng.choices(WORDS, k=6))}
        if rng.random() < 0.5:
            document["Tags"] = tuple(rng.sample(("gold", "silver", "new", "risk", "vip", "b2b"), rng.randint(1, 3)))
        if tiers:
            document["TemporalLowCardinalityKeywordTier"] = f"tier-{place % tiers:05}"
        document["Memo"] = rng.randbytes(60).hex()[: rng.randint(40, 120)].encode()
        yield document
