"""MACs of the numbers and states that decide whether a write may happen (kms/FORMAT.md section 7.4).

The condition of a write compares clear columns, for example a shard's range id. Anyone who can write to the database can edit them.
So each row also has a MAC of these columns, and the condition compares it with the MAC of the value that the caller expects. The keys
are never in the database, so an edited column has no MAC that fits.

A MAC does not change with time: an older row that is put back with its MAC passes. The caller in memory then expects another value.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from strongroom.kms import IntegrityError

from .errors import ShardOwnershipLost

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys, StrongroomError
    from strongroom.storage.engine.connection import Row

MAC_BYTES = 16
NO_MAC = bytes(MAC_BYTES)
"""A placeholder for a MAC that no condition reads."""
_CURRENT = struct.Struct(">I16sq16s")
_pack = struct.Struct(">BI16s16sq").pack
_RECORD_VERSION, _NEXT_EVENT_ID, _WRITE_VERSION = 1, 2, 3
_LEASE = struct.Struct(">I16sH?q")
_SHARD = struct.Struct(">Iq")
_COMPLETED = 3  # WorkflowState.COMPLETED
_CACHED_SHARDS = 65_536

ALTERED = 5
"""The answer of a statement whose row has a clear column that does not fit its MAC: only one of the two is the expected one."""


class RunFences:
    """Makes the MACs of one workflow's rows.

    Args:
        keys: The namespace's keys.
        shard_id: The workflow's shard.
        workflow: The token of the workflow id.
    """

    __slots__ = ("_current", "_run", "_shard_id", "_version", "_workflow")

    def __init__(self, keys: NamespaceKeys, shard_id: int, workflow: bytes) -> None:
        self._run = keys.identity("run fence").prefixes
        self._current = keys.identity("current run fence").token
        self._shard_id, self._workflow = shard_id, workflow
        self._version: tuple[bytes, int, bytes] | None = None

    def stored(self, run_id: bytes, *, record_version: int, next_event_id: int, last_write_version: int) -> bytes:
        """Return the MACs of a row of `executions`: of its record version, of its next event id and of its last write version."""
        place = (self._shard_id, self._workflow, run_id)
        return self._macs(
            run_id,
            last_write_version,
            [
                _pack(_RECORD_VERSION, *place, record_version),
                _pack(_NEXT_EVENT_ID, *place, next_event_id),
                _pack(_WRITE_VERSION, *place, last_write_version),
            ],
        )

    def replaced(
        self, run_id: bytes, *, condition: int, record_version: int, next_event_id: int, last_write_version: int
    ) -> bytes:
        """Return the MAC that a write expects in the row of a run, then those of the row that takes its place; see `stored`.

        Args:
            run_id: The run.
            condition: The next event id that the write expects, if its record version is 0.
            record_version: The new record version. The write expects the one before, or the condition if this is 0.
            next_event_id: The new next event id.
            last_write_version: The new last write version.
        """
        place = (self._shard_id, self._workflow, run_id)
        expected = (
            (_RECORD_VERSION, *place, record_version - 1) if record_version else (_NEXT_EVENT_ID, *place, condition)
        )
        return self._macs(
            run_id,
            last_write_version,
            [
                _pack(*expected),
                _pack(_RECORD_VERSION, *place, record_version),
                _pack(_NEXT_EVENT_ID, *place, next_event_id),
                _pack(_WRITE_VERSION, *place, last_write_version),
            ],
        )

    def _macs(self, run_id: bytes, version: int, messages: list[bytes]) -> bytes:
        """Return the MACs of messages about a run. The last one is that of the last write version."""
        macs = self._run(messages, MAC_BYTES)
        self._version = run_id, version, macs[-MAC_BYTES:]
        return macs

    def write_version(self, run_id: bytes, value: int) -> bytes:
        """Return the MAC of a run's last write version. The row of the current run has the same one, so the last one is kept."""
        last = self._version
        if last is not None and last[0] == run_id and last[1] == value:
            return last[2]
        return self._macs(run_id, value, [_pack(_WRITE_VERSION, self._shard_id, self._workflow, run_id, value)])

    def current(self, archetype_id: int, run_id: bytes) -> bytes:
        """Return the two MACs of a current run: that of any state except COMPLETED, then that of COMPLETED."""
        return self._current(_CURRENT.pack(self._shard_id, self._workflow, archetype_id, run_id))


def current_mac(macs: bytes, state: int) -> bytes:
    """Return the MAC of a current run in a state, of the two that `RunFences.current` returned."""
    return macs[MAC_BYTES:] if state == _COMPLETED else macs[:MAC_BYTES]


def lease_mac(keys: NamespaceKeys, key: tuple[int, UUID, bytes, int, bool], range_id: int) -> bytes:
    """Return the MAC of a task queue's range id.

    Args:
        keys: The keys of the queue's namespace.
        key: The primary key of the queue's row.
        range_id: The range id.
    """
    range_hash, _, queue_id, task_type, is_fair = key
    message = _LEASE.pack(range_hash, queue_id, task_type, is_fair, range_id)
    return keys.identity("task queue fence").token(message)[:MAC_BYTES]


class ShardFences:
    """Makes the MACs of range ids of shards, with the cell's keys.

    The MACs are stored in clear and never change, so they are cached.

    Args:
        keyring: The unwrapped keys.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._cached: dict[tuple[int, int], bytes] = {}

    async def mac(self, shard_id: int, range_id: int) -> bytes:
        """Return the MAC of a shard's range id.

        Raises:
            KmsError: The cell's keys are not available.
        """
        mac = self._cached.get((shard_id, range_id))
        if mac is None:
            keys = await self._keyring.open(self._keyring.cell_id)
            mac = keys.identity("shard fence").token(_SHARD.pack(shard_id, range_id))[:MAC_BYTES]
            if len(self._cached) >= _CACHED_SHARDS:
                self._cached.clear()
            self._cached[shard_id, range_id] = mac
        return mac


def has_altered_range(row: Row, range_id: int, mac: bytes) -> bool:
    """Return whether only the range id of a row, or only its MAC, is the expected one."""
    return bool((row["range_id"] == range_id) != (row["range_mac"] == mac))


def altered(what: str) -> IntegrityError:
    """Return the error of a row whose clear columns do not fit their MAC.

    Args:
        what: The row, in words without a value that a tenant chose.
    """
    return IntegrityError(
        f"{what} was altered in the database, and the write was refused; restore the row from a backup"
    )


def refused_shard(shard_id: int, reason: int) -> StrongroomError:
    """Return the error of a write that a shard's row refused.

    Args:
        shard_id: The shard.
        reason: The statement's answer: `ALTERED` or another number.
    """
    return altered(f"the range id of shard {shard_id}") if reason == ALTERED else ShardOwnershipLost(shard_id)
