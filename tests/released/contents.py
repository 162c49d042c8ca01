"""What a released cell contains, and where: shared by the program that writes it and the tests that open it."""

from __future__ import annotations

from tests.support.tree import ROOT

FOLDER = ROOT / "tests" / "released"
SAMPLE = ROOT / "driver" / "demo" / "sample" / "workflows.jsonl.gz"
CELL = "cell.tar.xz"
"""The configuration, keyring, audit log and dump of a cell, and `KEPT`."""
DUMP = "cell.dump"
KEPT = "kept.json"
"""What the stores and the commands of that version returned."""
DIGESTS = "SHA256SUMS"
"""The digests of the files of `FROZEN`."""
FROZEN = ("storage/sql/schema/migrations/*.sql", "tests/vectors/*.json", "tests/vectors/sealed/*.json")
DSN = "postgresql://strongroom@db.example.com/strongroom"
"""The connection string in the configuration. The tests put their own in its place."""
EVERY = 40
"""Which runs of the sample are imported: types and statuses of all kinds."""
WORKFLOWS = ("subscription/00180",)
ANSWERS = tuple(
    ("query", name, *words, "--json")
    for name in ("payments", "records")
    for words in (
        (),
        ("--count",),
        ("ExecutionStatus = 'Running'",),
        ("WorkflowId STARTS_WITH 'order/'",),
        ("WorkflowType != 'OrderWorkflow' ORDER BY StartTime",),
        ("GROUP BY ExecutionStatus", "--count"),
    )
) + tuple(("history", name, workflow, "--json") for name in ("payments", "records") for workflow in WORKFLOWS)
