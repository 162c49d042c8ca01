"""Count what data keys seal: in advance for suite 1, whose uses are limited, afterwards for suite 2 (FORMAT.md section 6.4)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.errors import SealingLimitExceeded

if TYPE_CHECKING:
    from uuid import UUID

    from .registry import DataKeyStore

SUITE_1_LIMIT = 2**30
"""Uses of one AES-256-GCM key with random nonces, fleet-wide: odds of a collision 2^-37 (SP 800-38D section 8.3)."""
SUITE_1_LEASE = 2**17
"""Uses that a process sets aside at a time: two full batches. What a process does not use is lost with it, so a lease is small."""
UNLIMITED = 2**62


@dataclass(slots=True)
class Lease:
    """Uses of one data key in this process.

    Attributes:
        left: of suite 1, rows that may still be sealed: the registry has set them aside.
        refused: whether the registry has none left to give.
        unreported: of suite 2, rows that were sealed and that the registry has not heard of.
    """

    left: int = 0
    refused: bool = False
    unreported: int = 0

    def spend(self, records: int) -> None:
        """Count rows off.

        Raises:
            SealingLimitExceeded: there are not as many left.
        """
        if records > self.left:
            msg = (
                "the leased uses of this AES-256-GCM key are spent; open the namespace's keys again, or rotate the key"
            )
            raise SealingLimitExceeded(msg)
        self.left -= records


class Leases:
    """The leases of a process; they outlive cached keys, so that what is set aside is used up before more is asked for.

    Args:
        store: the registry, which counts for all processes.
    """

    def __init__(self, store: DataKeyStore) -> None:
        self._store = store
        self._leases: dict[tuple[UUID, int], Lease] = {}
        self._asking = asyncio.Lock()

    def of(self, namespace_id: UUID, version: int) -> Lease:
        """Return the lease of a data key."""
        return self._leases.setdefault((namespace_id, version), Lease())

    async def extend(self, namespace_id: UUID, version: int) -> None:
        """See to it that a key of suite 1 may seal at least one full batch, unless all its uses are given out."""
        lease = self.of(namespace_id, version)
        if not _is_short(lease):
            return
        async with self._asking:  # callers that come together take one lease
            if not _is_short(lease):
                return
            granted = await self._store.lease_records(namespace_id, version, count=SUITE_1_LEASE, limit=SUITE_1_LIMIT)
            lease.left += SUITE_1_LEASE if granted else 0
            lease.refused = not granted

    async def report(self, namespace_id: UUID | None = None) -> None:
        """Tell the registry what keys of suite 2 sealed since the last time; of all namespaces, or of one.

        A process that is killed takes its last count with it, so the registry may know a little less than was sealed.
        """
        for (owner, version), lease in list(self._leases.items()):
            count = lease.unreported
            if count and namespace_id in (None, owner):
                await self._store.lease_records(owner, version, count=count, limit=UNLIMITED)
                lease.unreported -= count


def _is_short(lease: Lease) -> bool:
    return lease.left < SUITE_1_LEASE // 2 and not lease.refused
