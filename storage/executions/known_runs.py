"""What this process knows of the runs that it read or wrote last: enough to compute their next digest without a read."""

from __future__ import annotations

import struct
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeAlias

from strongroom.storage.journal.images import TAG_BYTES

from .packing import BRANCH, branch_of, end_of

if TYPE_CHECKING:
    from .planning import CurrentRun

DEFAULT_LIMIT: Final = 100_000
"""The most runs and map rows together. A run takes about 600 bytes, and a map row 26, or 100 after a write."""
UNKNOWN_TAG: Final = b"\xff" * TAG_BYTES
"""The tag of a row that is not known. No row has it."""

MAP_ROW_BYTES: Final = 26
"""The bytes of a map row in `MapRows`: its place in 18 bytes, and its stamp in 8 (`run_digest.py`)."""
MapRows: TypeAlias = bytes | dict[bytes, bytes]
"""The map rows of a run. After a read: place and stamp of each row, in the order of the read, which the next read compares without an
object for each row. After a write: the stamps by place."""
RunState: TypeAlias = tuple[bytes, bytes, MapRows | None, bytes | None, int]
"""A stored state of a run.

1. The tag: the last 16 bytes of the run's sealed row. Another state, or the same one sealed again, has another tag.
2. The binding of the row's plaintext (`packing.py`): the digest of the map rows and the end of the current branch.
3. The map rows. None if there are none.
4. The row of `current_executions` that names the run: what `described_current` returns of it, and its tag. None if this process does
   not know it.
5. The record version.

A plain tuple of these types is not tracked by the garbage collector, which would have to look at each of many thousands.
"""

_ARCHETYPE = struct.Struct(">q")
_CURRENT = struct.Struct(">qq")
_DIGEST_BYTES = 16


def described_current(archetype_id: int, current: CurrentRun, packed: bytes) -> bytes:
    """Return the archetype and a digest of what a row of `current_executions` says of its run, 24 bytes.

    Args:
        archetype_id: The archetype.
        current: The run, its state and its version.
        packed: The plaintext of the row.
    """
    said = _CURRENT.pack(current.state.state, current.last_write_version) + packed
    return _ARCHETYPE.pack(archetype_id) + blake2b(said, digest_size=_DIGEST_BYTES).digest()


def known_tag(current: bytes | None, archetype_id: int) -> bytes:
    """Return the tag of the row of `current_executions` with an archetype, or `UNKNOWN_TAG`; `current` is as in `RunState`."""
    if current is None or not current.startswith(_ARCHETYPE.pack(archetype_id)):
        return UNKNOWN_TAG
    return current[-TAG_BYTES:]


def is_older(record_version: int, binding: bytes, known: RunState) -> bool:
    """Return whether a stored run is older than the known state: a lower record version whose history ends no later.

    A run that was deleted and made again has lower versions too, but its transactions are higher: the owner of the shard never gives a
    transaction twice. A write with record version 0 uses the older condition, the next event id, so its order is not known.

    Args:
        record_version: The version of the stored row.
        binding: The binding of its plaintext.
        known: The state that was known before the row was read.
    """
    if not 0 < record_version < known[4]:
        return False
    found, before = end_of(binding), end_of(known[1])
    return found is not None and before is not None and found.branch == before.branch and found.txn_id <= before.txn_id


class KnownRuns:
    """Keeps the states of the runs that were used last. A write checks the tag, so a state that is out of date does no harm.

    Args:
        limit: The most runs and map rows together. The runs that were not used for longest are forgotten first.
    """

    def __init__(self, *, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._states: OrderedDict[bytes, RunState] = OrderedDict()
        self._map_rows: dict[bytes, int] = {}
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
        _, binding, rows, _, _ = state
        before = self._states.get(run)
        if before is None:
            self._weight += 1
        elif before[1][BRANCH] != binding[BRANCH]:
            self._forget_branch(run, before)
        self._states[run] = state
        self._states.move_to_end(run)
        if rows or run in self._map_rows:
            number = len(rows or ()) // (MAP_ROW_BYTES if isinstance(rows, bytes) else 1)
            self._weight += number - self._map_rows.get(run, 0)
            self._map_rows[run] = number
        branch = branch_of(binding)
        if branch is not None:
            self._branches[branch] = run
        while self._weight > self._limit:
            self.forget(next(iter(self._states)))

    def forget(self, run: bytes) -> None:
        """Forget a run, because its state may be another one."""
        state = self._states.pop(run, None)
        if state is not None:
            self._weight -= 1 + self._map_rows.pop(run, 0)
            self._forget_branch(run, state)

    def refused(self, run: bytes) -> None:
        """Forget which row of `current_executions` names a run, because a write was refused. The rest shows an older read."""
        state = self._states.get(run)
        if state is not None:
            self._states[run] = (*state[:3], None, state[4])

    def run_of(self, branch: bytes) -> bytes | None:
        """Return the run whose current branch this is, given by its tree and branch id; None if it is not known."""
        return self._branches.get(branch)

    def _forget_branch(self, run: bytes, state: RunState) -> None:
        branch = branch_of(state[1])
        if branch is not None and self._branches.get(branch) == run:
            del self._branches[branch]
