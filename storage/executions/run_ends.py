"""The ends of histories, as the rows of runs name them (`storage/histories/ends.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from strongroom.storage.checks import open_keys

from .packing import end_of
from .reading import RunKey, run_key

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.histories.ends import BranchEnd

    from .known_runs import KnownRuns
    from .reading import ExecutionReader

_WORKFLOW_BYTES = 16


class StoredRunEnds:
    """Implements `RunEnds` with the rows of runs.

    Args:
        keyring: The unwrapped keys.
        reader: Reads runs.
        known: The runs that this process knows.
    """

    def __init__(self, keyring: Keyring, reader: ExecutionReader, known: KnownRuns) -> None:
        self._keyring = keyring
        self._reader = reader
        self._known = known

    def known(self, branch: bytes) -> BranchEnd | None:
        """Return the end that this process knows; see `RunEnds`."""
        run = self._known.run_of(branch)
        state = None if run is None else self._known.get(run)
        return None if state is None else end_of(state[1])

    async def learn(self, namespace_id: UUID, workflow_id: str, run_id: UUID, *, shard_id: int) -> bool:
        """Read the row of a run; see `RunEnds`.

        Raises:
            IntegrityError: A row of the run does not open, or its rows are of different states.
            NamespaceNotFound: The namespace does not exist.
            KmsError: The namespace's keys are not available.
            StorageError: The database does not answer.
        """
        keys, key = await run_key(self._keyring, namespace_id, workflow_id, run_id, shard_id)
        return await self._reader.state(key, keys) is not None

    async def stored(self, namespace_id: UUID, shard_id: int, branch: bytes) -> BranchEnd | None:
        """Read the row of the run again; see `RunEnds`.

        Raises:
            IntegrityError: A row of the run does not open, or its rows are of different states.
            NamespaceNotFound: The namespace does not exist.
            KmsError: The namespace's keys are not available.
            StorageError: The database does not answer.
        """
        run = self._known.run_of(branch)
        if run is None:
            return None
        keys = await open_keys(self._keyring, namespace_id)
        key = RunKey(shard_id, namespace_id, run[:_WORKFLOW_BYTES], UUID(bytes=run[_WORKFLOW_BYTES:]))
        state = await self._reader.state(key, keys)
        end = None if state is None else end_of(state[1])
        return end if end is not None and end.branch == branch else None
