"""The end of a run's current branch. The run's sealed row names it, and each read of the history is compared with it.

A page that covers the known end must contain it. If it does not, the run's row is read again before the read is refused: a run that
was deleted has no end, and another process may have written a later one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar
from uuid import UUID

from strongroom.storage.checks import check_id
from strongroom.storage.errors import DataLoss, InvalidPersistenceRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .branch import HistoryBranch
    from .tree import HistoryTrees

T = TypeVar("T")

_ATTEMPTS = 4
"""Number of reads of a page. Each further one needs a run that another process changes meanwhile."""
_MOST_WITHOUT_RUN = 65_536


class BranchEnd(NamedTuple):
    """The newest write of a run's current branch.

    Attributes:
        branch: The tree id, then the branch id, 16 bytes each.
        node_id: The node.
        txn_id: The transaction of the write.
    """

    branch: bytes
    node_id: int
    txn_id: int


class RunEnds(Protocol):
    """The ends of branches, as the rows of their runs name them. `storage/executions/run_ends.py` implements it."""

    def known(self, branch: bytes) -> BranchEnd | None:
        """Return the end that this process knows; None if it has not read or written the branch's run."""

    async def learn(self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int) -> bool:
        """Read the row of a run, so that its end is known. Return whether the run exists."""

    async def stored(self, namespace_id: UUID, shard_id: int, branch: bytes) -> BranchEnd | None:
        """Read the row of the run again. Return its end; None if the run was deleted or continues on another branch."""


def branch_key(tree_id: UUID, branch_id: UUID) -> bytes:
    """Return the bytes of a branch in a `BranchEnd`."""
    return tree_id.bytes + branch_id.bytes


class EndChecks:
    """Compares reads of histories with the ends that the rows of runs name.

    Args:
        ends: The ends; None if there is no store of runs, so that nothing is compared.
        trees: The rows of branches. Their notes name the runs of branches that this process has not read.
    """

    def __init__(self, ends: RunEnds | None, trees: HistoryTrees) -> None:
        self._ends = ends
        self._trees = trees
        self._without_run: set[bytes] = set()
        """Branches whose note names no run, or a run that continues on another branch."""

    async def read(
        self,
        namespace_id: UUID,
        branch: HistoryBranch,
        attempt: Callable[[BranchEnd | None], Awaitable[tuple[T, bool]]],
    ) -> T:
        """Read a page until it agrees with the row of the run.

        Args:
            namespace_id: The namespace of the history.
            branch: The branch.
            attempt: Reads the page. Gets the end that is known before the read, and returns the page and whether the end is missing.

        Raises:
            DataLoss: The end is missing, and the row of the run names it.
        """
        if self._ends is None:
            return (await attempt(None))[0]
        key = branch_key(branch.tree_id, branch.branch_id)
        end = self._ends.known(key)
        if end is None and key not in self._without_run:
            end = await self._learn(self._ends, namespace_id, branch, key)
        for _ in range(_ATTEMPTS):
            page, is_missing = await attempt(end)
            if not is_missing:
                return page
            before, end = end, await self._ends.stored(namespace_id, branch.shard_id, key)
            if end == before:
                break
        raise DataLoss(
            f"the end of history branch {branch.branch_id} is missing: its run was last written with another one; "
            "restore the history from a backup"
        )

    async def _learn(self, ends: RunEnds, namespace_id: UUID, branch: HistoryBranch, key: bytes) -> BranchEnd | None:
        """Read the run that the note of a branch names. Return the end of the branch."""
        note = await self._trees.note(namespace_id, branch)
        run = None if note is None else run_of_note(namespace_id, note)
        if run is None or await ends.learn(namespace_id, *run, shard_id=branch.shard_id):
            end = ends.known(key)
            if end is not None:
                return end
            if len(self._without_run) >= _MOST_WITHOUT_RUN:
                self._without_run.clear()
            self._without_run.add(key)
        return None


def run_of_note(namespace_id: UUID, note: str) -> tuple[str, UUID] | None:
    """Return the workflow id and run id that the note of a branch names; None if it names none.

    Temporal's note is `namespace id:workflow id:run id` (`BuildHistoryGarbageCleanupInfo`), also for forks.
    """
    namespace, _, rest = note.partition(":")
    workflow_id, _, run_id = rest.rpartition(":")
    if namespace != str(namespace_id):
        return None
    try:
        check_id("workflow_id", workflow_id)
        return workflow_id, UUID(run_id)
    except (ValueError, InvalidPersistenceRequest):
        return None
