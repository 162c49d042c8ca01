"""The shards of workflows: Temporal's function, and the permutation of its numbers that rows have.

Temporal's function has no key, so a thief of the database could compare a row's shard with the hash of a guessed id.
Rows have another number: a permutation of 1 to N under the cell's identity key. `driver/serve` replaces the numbers.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from .farm_fingerprint import fingerprint_32

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys

PURPOSE = "shard permutation"
_NUMBER = Struct(">I")


class ShardNumbers:
    """The numbers of a cell's shards, on the wire and in rows.

    Attributes:
        stored: The number in rows of each of Temporal's numbers, by its place. The first place is not used.
        temporal: Temporal's number of each number in rows, in the same form.

    Args:
        keys: The cell's keys.
        count: The number of shards.
    """

    __slots__ = ("stored", "temporal")

    def __init__(self, keys: NamespaceKeys, count: int) -> None:
        key = keys.identity(PURPOSE)
        order = sorted(range(1, count + 1), key=lambda number: key.token(_NUMBER.pack(number)))
        stored = [0] * (count + 1)
        for number, shard in enumerate(order, 1):
            stored[shard] = number
        self.stored = tuple(stored)
        self.temporal = (0, *order)

    def shard_of(self, namespace_id: UUID, workflow_id: bytes) -> int:
        """Return the number in rows of a workflow's shard.

        Args:
            namespace_id: The namespace.
            workflow_id: The workflow id in UTF-8.
        """
        return self.stored[temporal_shard(namespace_id, workflow_id, len(self.stored) - 1)]


class CellShardNumbers:
    """The numbers of an open cell's shards. They are made once, at the first use, because a cell can have thousands of shards.

    Args:
        keyring: The unwrapped keys.
        count: The number of shards.
    """

    def __init__(self, keyring: Keyring, count: int) -> None:
        self._keyring, self._count = keyring, count
        self._numbers: ShardNumbers | None = None

    async def get(self) -> ShardNumbers:
        """Return the numbers.

        Raises:
            KmsError: The cell's keys are not available.
        """
        if self._numbers is None:
            self._numbers = ShardNumbers(await self._keyring.open(self._keyring.cell_id), self._count)
        return self._numbers


def temporal_shard(namespace_id: UUID, workflow_id: bytes, count: int) -> int:
    """Return Temporal's number of a workflow's shard, from 1: `common.WorkflowIDToHistoryShard`.

    Args:
        namespace_id: The namespace.
        workflow_id: The workflow id in UTF-8.
        count: The number of shards.
    """
    return fingerprint_32(b"%b_%b" % (str(namespace_id).encode(), workflow_id)) % count + 1
