"""Count the rows that data keys seal.

The uses of a suite 1 key are limited, so its rows are counted before they are sealed. The rows of suite 2 are counted
afterwards.

See FORMAT.md section 6.4.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.errors import SealingLimitExceeded

if TYPE_CHECKING:
    from uuid import UUID

    from .registry import DataKeyStore

SUITE_1_LIMIT = 2**30
"""Uses of one AES-256-GCM key with random nonces, over all processes. A nonce collision then has odds of 2^-37 (SP 800-38D, 8.3)."""
SUITE_1_LEASE = 2**17
"""Uses that a process leases at a time: two full batches. A lease is small because unused uses are lost when the process ends."""
UNLIMITED = 2**62


@dataclass(slots=True)
class Lease:
    """Uses of one data key in this process.

    Attributes:
        left: Suite 1: leased uses that are left.
        refused: Suite 1: whether the registry refused another lease.
        unreported: Suite 2: sealed rows that were not yet reported to the registry.
    """

    left: int = 0
    refused: bool = False
    unreported: int = 0

    def spend(self, records: int) -> None:
        """Use up as many uses as there are rows.

        Raises:
            SealingLimitExceeded: Fewer uses are left.
        """
        if records > self.left:
            msg = "the leased uses of this AES-256-GCM key are used up; open the namespace's keys again, or rotate the key"
            raise SealingLimitExceeded(msg)
        self.left -= records


class Leases:
    """The leases of a process. They outlive cached keys, so that a lease is used up before the next one is requested.

    Args:
        store: The registry, which counts for all processes.
        size: The number of uses in a lease.
        limit: The number of uses of one key, over all processes.
    """

    def __init__(self, store: DataKeyStore, *, size: int = SUITE_1_LEASE, limit: int = SUITE_1_LIMIT) -> None:
        self._store = store
        self._size = size
        self._limit = limit
        self._leases: dict[UUID, dict[int, Lease]] = {}
        self._leasing: dict[tuple[UUID, int], asyncio.Lock] = {}

    def of(self, namespace_id: UUID, version: int) -> Lease:
        """Return the lease of a data key."""
        return self._leases.setdefault(namespace_id, {}).setdefault(version, Lease())

    async def extend(self, namespace_id: UUID, version: int) -> None:
        """Lease more uses of a key of suite 1 if fewer than a full batch are left. Do nothing if the registry has none left."""
        lease = self.of(namespace_id, version)
        if not self._is_short(lease):
            return
        async with self._lock(namespace_id, version):  # concurrent callers take one lease
            if not self._is_short(lease):
                return
            granted = await self._store.lease_records(namespace_id, version, count=self._size, limit=self._limit)
            lease.left += self._size if granted else 0
            lease.refused = not granted

    async def report(self, namespace_id: UUID | None = None) -> None:
        """Report to the registry how many rows the suite 2 keys have sealed since the last report.

        The last count of a killed process is lost, so the registry's count may be a little low.

        Args:
            namespace_id: The namespace to report, or None for all.
        """
        owners = list(self._leases) if namespace_id is None else [namespace_id]
        places = [(owner, version) for owner in owners for version in self._leases.get(owner, ())]
        await asyncio.gather(*(self._report(*place) for place in places))  # the store sends them together

    async def _report(self, namespace_id: UUID, version: int) -> None:
        lease = self.of(namespace_id, version)
        if not lease.unreported:
            return
        async with self._lock(namespace_id, version):
            count = lease.unreported
            if count:
                await self._store.lease_records(namespace_id, version, count=count, limit=UNLIMITED)
                lease.unreported -= count

    def _lock(self, namespace_id: UUID, version: int) -> asyncio.Lock:
        return self._leasing.setdefault((namespace_id, version), asyncio.Lock())

    def _is_short(self, lease: Lease) -> bool:
        return lease.left < self._size // 2 and not lease.refused
