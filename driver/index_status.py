"""The state of the search index, for `index status`, `doctor` and a service's own pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.visibility import compare_marks

if TYPE_CHECKING:
    from strongroom.storage import VisibilityOutbox
    from strongroom.storage.visibility_rows.marks import IndexMarks
    from strongroom.storage.visibility_rows.outbox import RefusedRun
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

REPAIR = "Run: strongroom index reconcile"
SHOWN = 20
"""Maximum number of refused documents that are listed."""


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The state of a search index.

    Attributes:
        index: The alias of the index.
        documents: The number of documents of runs.
        waiting: The number of runs whose changes the index has not received.
        refused: The number of these runs whose document the index refuses.
        refused_runs: The runs of these that were refused most often, at most `SHOWN`.
        restored: What is wrong if the database or the index was restored from a backup; None if both agree.
    """

    index: str
    documents: int
    waiting: int
    refused: int
    refused_runs: tuple[RefusedRun, ...]
    restored: str | None

    def as_json(self) -> dict[str, object]:
        """Return the state as values of JSON."""
        return {
            "index": self.index,
            "documents": self.documents,
            "waiting": self.waiting,
            "refused": self.refused,
            "restored": self.restored,
            "refused_runs": [_run(run) for run in self.refused_runs],
        }

    def refused_lines(self) -> list[str]:
        """Return a line for each refused document that is listed. It names the key of the record in the database."""
        return [
            f"run {run.key[2].hex()} of namespace {run.key[1]}, shard {run.key[0]}: refused {run.refusals} times, "
            f"{run.reason}; sent again {'at once' if run.retry_at is None else f'at {run.retry_at:%Y-%m-%d %H:%M:%S} UTC'}"
            for run in self.refused_runs
        ]


async def read_index_status(index: ElasticsearchIndex, outbox: VisibilityOutbox, marks: IndexMarks) -> IndexStatus:
    """Read the state of a search index.

    Raises:
        StorageError, VisibilityError: The database or the index failed, or the index is missing or of another version.
    """
    await index.check()
    documents, counts = await index.count(), await outbox.counts()
    refused = await outbox.refused(limit=SHOWN) if counts.refused else []
    restored = (await compare_marks(marks, index)).explanation()
    return IndexStatus(index.name, documents, counts.waiting, counts.refused, tuple(refused), restored)


def _run(run: RefusedRun) -> dict[str, object]:
    shard_id, namespace_id, identifier = run.key
    return {
        "shard_id": shard_id,
        "namespace_id": str(namespace_id),
        "id": identifier.hex(),
        "refusals": run.refusals,
        "reason": run.reason,
        "retry_at": None if run.retry_at is None else run.retry_at.isoformat(),
    }
