"""The state of the search index, for `index status`, `doctor` and a service's own pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.storage.errors import number_of
from strongroom.visibility import compare_marks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.storage import VisibilityOutbox
    from strongroom.storage.visibility_rows.builds import IndexBuilds
    from strongroom.storage.visibility_rows.marks import IndexMarks
    from strongroom.storage.visibility_rows.outbox import RefusedRun
    from strongroom.visibility.backends.elasticsearch import ClusterHealth, ElasticsearchIndex, IndexLayout

REPAIR = "Run: strongroom index reconcile"
SHOWN = 20
"""Maximum number of refused documents that are listed."""
STATUS_KEYS = (
    "index",
    "documents",
    "waiting",
    "refused",
    "restored",
    "refused_runs",
    "name",
    "health",
    "data_nodes",
    "unassigned",
    "shards",
    "replicas",
    "refresh_interval",
    "bytes",
    "building",
    "epochs",
)
"""The keys of a status in JSON."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The state of a search index.

    Attributes:
        alias: The alias of the index.
        layout: The index behind the alias.
        health: Its health; None if the API key lacks the right to read it.
        size: The size of the index with its replicas, in bytes.
        epochs: The number of documents of each epoch of the index keys.
        waiting: The number of runs whose changes the index has not received.
        refused: The number of these runs whose document the index refuses.
        refused_runs: The runs of these that were refused most often, at most `SHOWN`.
        restored: What is wrong if the database or the index was restored from a backup; None if both agree.
        building: The name of the index that is being built to replace this one; None for none.
    """

    alias: str
    layout: IndexLayout
    health: ClusterHealth | None
    size: int
    epochs: Mapping[int, int]
    waiting: int
    refused: int
    refused_runs: tuple[RefusedRun, ...]
    restored: str | None
    building: str | None = None

    @property
    def documents(self) -> int:
        """The number of documents of runs."""
        return sum(self.epochs.values())

    def as_json(self) -> dict[str, object]:
        """Return the state as values of JSON."""
        return {
            "index": self.alias,
            "documents": self.documents,
            "waiting": self.waiting,
            "refused": self.refused,
            "restored": self.restored,
            "refused_runs": [_run(run) for run in self.refused_runs],
            "name": self.layout.index,
            "health": None if self.health is None else self.health.status,
            "data_nodes": None if self.health is None else self.health.data_nodes,
            "unassigned": None if self.health is None else self.health.unassigned,
            "shards": self.layout.shards,
            "replicas": self.layout.replicas,
            "refresh_interval": self.layout.refresh_interval,
            "bytes": self.size,
            "building": self.building,
            "epochs": {str(epoch): count for epoch, count in self.epochs.items()},
        }

    def lines(self) -> list[str]:
        """Return the state as lines for a person, without what is wrong."""
        shards, replicas, refreshed = self.layout.shards, self.layout.replicas, self.layout.refresh_interval
        building = (
            [] if self.building is None else [f"{self.building} is being built; to continue: strongroom index build"]
        )
        return [
            f"Elasticsearch answers searches, from index {self.alias} ({self.layout.index})",
            *building,
            f"health: {self._health()}",
            f"{number_of(shards, 'shard')}, {number_of(replicas, 'replica')} of each, refreshed every {refreshed}, {_size(self.size)}",
            f"{self.documents} documents; {self.waiting} runs not yet indexed",
            *(f"  {count} documents of epoch {epoch}" for epoch, count in sorted(self.epochs.items())),
        ]

    def _health(self) -> str:
        if self.health is None:
            return "unknown, because the API key lacks the right cluster:monitor/health"
        nodes = number_of(self.health.data_nodes, "data node")
        missing = f", {self.health.unassigned} shards or replicas on no node" if self.health.unassigned else ""
        return f"{self.health.status}, {nodes}{missing}"

    def refused_lines(self) -> list[str]:
        """Return a line for each refused document that is listed. It names the key of the record in the database."""
        return [
            f"run {run.key[2].hex()} of namespace {run.key[1]}, shard {run.key[0]}: refused {run.refusals} times, "
            f"{run.reason}; sent again {'at once' if run.retry_at is None else f'at {run.retry_at:%Y-%m-%d %H:%M:%S} UTC'}"
            for run in self.refused_runs
        ]


async def read_index_status(
    index: ElasticsearchIndex, outbox: VisibilityOutbox, marks: IndexMarks, builds: IndexBuilds
) -> IndexStatus:
    """Read the state of a search index.

    Raises:
        StorageError, VisibilityError: The database or the index failed, or the index is missing or can't be used.
    """
    await index.check_addresses()
    layout, build = await index.check(), await builds.current()
    counts = await outbox.counts()
    return IndexStatus(
        alias=index.name,
        layout=layout,
        health=await index.health(),
        size=await index.stored_bytes(),
        epochs=await index.all_epochs(),
        waiting=counts.waiting,
        refused=counts.refused,
        refused_runs=tuple(await outbox.refused(limit=SHOWN)) if counts.refused else (),
        restored=(await compare_marks(marks, index)).explanation(),
        building=build.target if build is not None and index.owns(build.target) else None,
    )


def _size(number: float) -> str:
    """Return a number of bytes with a unit."""
    for unit in _UNITS[:-1]:
        if number < _STEP:
            return f"{number:.0f} {unit}"
        number /= _STEP
    return f"{number:.0f} {_UNITS[-1]}"


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
