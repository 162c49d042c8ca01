"""Find the branch of the history of a run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.driver.importing.branch_token import current_branch
from strongroom.storage import NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.driver.strongroom import Strongroom
    from strongroom.storage import BranchInfo, HistoryBranch
    from strongroom.visibility import VisibilityRecord


async def branch_of(strongroom: Strongroom, namespace_id: UUID, record: VisibilityRecord) -> HistoryBranch:
    """Return the branch of a run.

    A Temporal server's mutable state names it: after a reset, the new run has a branch in the tree of the old one. An imported run has
    no mutable state. Its branch is the newest one of its own tree.

    Raises:
        NotFound: The history is not stored.
    """
    shard_id = await strongroom.shards.shard_of(namespace_id, record.workflow_id)
    run_id = tree_id = UUID(record.run_id)
    branch_id = None
    with suppress(NotFound, ValueError):  # an imported run, or one of another service
        state = await strongroom.executions.get_workflow_execution(
            namespace_id, record.workflow_id, run_id, shard_id=shard_id
        )
        tree_id, branch_id = current_branch(state.execution_info.data)
    branches = await strongroom.history.get_history_tree(namespace_id, shard_id=shard_id, tree_id=tree_id)
    if branch_id is not None:
        branches = [each for each in branches if each.branch.branch_id == branch_id]
    if not branches:
        raise NotFound("the history of this run is not stored")
    return _newest([each for each in branches if each.info.endswith(f":{run_id}")] or branches)


def _newest(branches: Sequence[BranchInfo]) -> HistoryBranch:
    """Return the newest branch. A fork is newer than the branch that it was forked from, whatever the clocks of their hosts are."""

    def forked(info: BranchInfo) -> tuple[int, int]:
        ancestors = {part.branch_id for part in info.branch.ancestors}
        times = [each.fork_time_ns for each in branches if each.branch.branch_id in ancestors]
        return max([info.fork_time_ns, *times]), len(ancestors)

    return max(branches, key=forked).branch
