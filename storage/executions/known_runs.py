"""What this process knows of the runs that it read or wrote last: enough to compute their next digest without a read."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from strongroom.storage.histories.ends import BranchEnd

DEFAULT_LIMIT: Final = 100_000
"""The most runs and map entries together. Each takes about 300 bytes."""
TAG_BYTES: Final = 16
UNKNOWN_TAG: Final = b"\xff" * TAG_BYTES
"""The tag of a run that is not known. No row has it."""


@dataclass(slots=True)
class RunState:
    """A stored state of a run.

    Attributes:
        tag: The last 16 bytes of the run's sealed row. Another state of the run, or the same one sealed again, has another tag.
        elements: The hash of each map row, by map and item.
        total: The sum of these hashes.
        end: The end of the current branch; None if no write named one.
    """

    tag: bytes
    elements: dict[tuple[int, bytes], int]
    total: int
    end: BranchEnd | None


class KnownRuns:
    """Keeps the states of the runs that were used last. A write checks the tag, so a state that is out of date does no harm.

    Args:
        limit: The most runs and map entries together. The runs that were not used for longest are forgotten first.
    """

    def __init__(self, *, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._states: OrderedDict[bytes, RunState] = OrderedDict()
        self._weights: dict[bytes, int] = {}
        self._weight = 0
        self._branches: dict[bytes, bytes] = {}

    def get(self, run: bytes) -> RunState | None:
        """Return the state of a run, given by its workflow token and run id; None if it is not known."""
        state = self._states.get(run)
        if state is not None:
            self._states.move_to_end(run)
        return state

    def put(self, run: bytes, state: RunState) -> None:
        """Keep the state of a run."""
        self.forget(run)
        self._states[run] = state
        weight = self._weights[run] = 1 + len(state.elements)
        self._weight += weight
        if state.end is not None:
            self._branches[state.end.branch] = run
        while self._weight > self._limit:
            self.forget(next(iter(self._states)))

    def forget(self, run: bytes) -> None:
        """Forget a run, because its state may be another one."""
        state = self._states.pop(run, None)
        if state is None:
            return
        self._weight -= self._weights.pop(run)
        if state.end is not None and self._branches.get(state.end.branch) == run:
            del self._branches[state.end.branch]

    def run_of(self, branch: bytes) -> bytes | None:
        """Return the run whose current branch this is, given by its tree and branch id; None if it is not known."""
        return self._branches.get(branch)
