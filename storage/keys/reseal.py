"""Seal rows of older key versions again with the active data key, while services read and write (DESIGN.md, "Resealing").

    count      count the rows of older versions, from their headers
    reseal     open, seal and write each row, unless another writer has changed it
    wait       until every process has read the registry since the rotation, because some still seal with the old key
    reseal     again, until a complete pass finds no row of an older version except unreadable ones
    index      the same for the copies in a search index

An interrupted run continues when it is run again, because the rows themselves show what is left to do.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from strongroom.kms import KeyClass, KeyDestroyed, SealingLimitExceeded, commits_several_times
from strongroom.kms.keys.leases import SUITE_1_LIMIT
from strongroom.storage.checks import open_keys
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import DatabaseTimeout, InvalidPersistenceRequest

from .reseal_progress import NAMED, RATE, Pace, Resealed, Tally, no_progress
from .reseal_rows import reseal_rows
from .sealed_columns import sealed_columns
from .sealed_pages import COUNTED, OLDER, SealedPages

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.database import Database
    from strongroom.storage.journal.writer import Journal

    from .registry_wait import RegistryWait
    from .reseal_progress import Progress
    from .sealed_columns import SealedColumn
    from .sealed_copies import SealedCopies

_SQL = load_queries("keys/reseal")

TRUSTED_AGE = 2 * 86_400.0
"""Age of a rotation by the server's clock, in seconds, from which resealing does not wait. A jump of the clock is smaller."""
RATE_LIMIT = 10**9
_PAUSE = 0.5
"""Seconds to wait after a pass that resealed nothing."""


class Reseal:
    """Reseals the rows of a namespace, or the cell's own rows.

    Args:
        database: Connections for look-ups by key, with a limit for waiting for locks.
        keyring: The keys.
        journal: The journal of this process.
        copies: The search index; None if it is the database.
        wait: The wait until every process has read a change of the key registry.
        distributed: Whether the tables are distributed over a Citus cluster.
        columns: The sealed columns; None for all.
        attempts: Consecutive passes that reseal nothing, because other transactions hold the rows, before a run fails.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        *,
        copies: SealedCopies | None,
        wait: RegistryWait,
        distributed: bool = False,
        columns: tuple[SealedColumn, ...] | None = None,
        attempts: int = 20,
    ) -> None:
        self.database = database
        self.keyring = keyring
        self.journal = journal
        self.columns = sealed_columns() if columns is None else columns
        self.copies = copies
        self.distributed = distributed
        self.wait = wait
        self.attempts = attempts

    @commits_several_times
    async def run(self, owner: UUID, *, rate: float = RATE, progress: Progress | None = None) -> Resealed:
        """Reseal all rows of older versions, until a complete pass finds none.

        Args:
            owner: The id of the namespace, or of the cell.
            rate: Maximum rows a second; 0 for no limit.
            progress: Called with a step and a number; see `Progress`.

        Returns:
            The counts of the run.

        Raises:
            NamespaceNotFound, KeyDestroyed: The namespace does not exist, or was shredded.
            SealingLimitExceeded: Resealing would leave an AES-256-GCM key too few uses for the service.
            DatabaseTimeout: Other transactions held some rows during all attempts.
            KmsError, StorageError, SearchIndexMismatch: The run was interrupted. Run it again.
        """
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < RATE_LIMIT:
            msg = f"rate must be a number of rows a second from 0 to {RATE_LIMIT}"
            raise InvalidPersistenceRequest(msg)
        show = progress or no_progress
        version = (await self.fresh_keys(owner)).active_version(KeyClass.DATA)
        began, waited = time.monotonic(), 0.0
        deadline = await self.deadline(owner, trusted_age=TRUSTED_AGE)
        found = await self.count(owner, version, wanted=OLDER, progress=show)
        show("total", found.total())
        await self._check_uses(owner, version, found.total())
        tally, pace = Tally(), Pace(rate)
        if deadline > self.wait.monotonic():
            await self._pass(owner, version, tally, pace=pace, show=show)
            waited = await self.wait.wait_until(await self.deadline(owner, trusted_age=TRUSTED_AGE), show)
        await self.passes(owner, version, tally, pace=pace, show=show)
        if self.copies is not None and owner != self.keyring.cell_id:
            await self.copies.renew(owner, version, show)
        return Resealed(
            version=version,
            found=found.total(),
            resealed=dict(tally.resealed),
            unreadable=dict(tally.unreadable),
            named=tuple(tally.named),
            seconds=time.monotonic() - began - waited,
        )

    async def fresh_keys(self, owner: UUID) -> NamespaceKeys:
        """Read the keys of a namespace or the cell from the registry again, and return them.

        Raises:
            NamespaceNotFound, KeyDestroyed: The namespace does not exist, or was shredded.
            KmsError: The keys can't be unwrapped.
        """
        self.keyring.evict(owner)
        return await open_keys(self.keyring, owner)

    def columns_of(self, owner: UUID) -> list[SealedColumn]:
        """Return the columns that may hold values sealed with the keys of `owner`."""
        return [column for column in self.columns if column.table.namespaced or owner == self.keyring.cell_id]

    async def count(self, owner: UUID, version: int, *, wanted: str, progress: Progress) -> Counter[str]:
        """Return the number of values that use a key version, or an older one, by column. Columns without any are left out.

        Args:
            owner: The id of the namespace, or of the cell.
            version: The key version.
            wanted: `USING` for values of this version, `OLDER` for those of older versions.
            progress: Called with "scan" and the number of rows looked at.

        Raises:
            StorageError: The database does not answer.
        """
        seen, found = 0, Counter[str]()
        for column in self.columns_of(owner):
            pages = SealedPages(
                self.database,
                column,
                owner,
                version,
                wanted=wanted,
                limit=COUNTED,
                counted=True,
                distributed=self.distributed,
            )
            async for page in pages:
                seen += page.seen
                if page.wanted:
                    found[str(column)] += page.wanted
                progress("scan", seen)
        return found

    async def deadline(self, owner: UUID, *, trusted_age: float | None = None) -> float:
        """Return the monotonic time at which every process has read the registry since the last rotation.

        Args:
            owner: The id of the namespace, or of the cell.
            trusted_age: Age of a rotation by the server's clock, in seconds, from which no wait is needed. None to trust no clock,
                for what can't be undone.

        Raises:
            KeyDestroyed: The namespace was shredded during the run.
            RegistryAltered: The registry was changed outside of Strongroom.
        """
        keys = await self.keyring.store.list_data_keys(owner)
        versions = [key.version for key in keys if key.key_class is KeyClass.DATA]
        if not versions:
            raise KeyDestroyed
        if max(versions) == 1:
            return self.wait.monotonic()
        if trusted_age is not None:
            async with self.database.connection(owner) as connection:
                row = await connection.fetchrow(_SQL["newest"], owner)
            if row is not None and row["age"] >= trusted_age:
                return self.wait.monotonic()
        return self.wait.deadline_of((owner, max(versions)))

    @commits_several_times
    async def passes(
        self,
        owner: UUID,
        version: int,
        tally: Tally,
        *,
        pace: Pace,
        show: Progress,
        keys: NamespaceKeys | None = None,
    ) -> None:
        """Pass through all columns until a pass finds nothing to do.

        Args:
            owner: The id of the namespace, or of the cell.
            version: Values of older versions than this are resealed.
            tally: The counts so far.
            pace: The rate.
            show: Called with "reseal" and the number of rows resealed so far.
            keys: The keys to open and seal with; None for the current keys of `owner`.

        Raises:
            DatabaseTimeout: Other transactions held some rows during all attempts.
        """
        idle = 0
        while True:
            moved = await self._pass(owner, version, tally, pace=pace, show=show, keys=keys)
            if not moved and not tally.missed:
                return
            idle = 0 if moved else idle + 1
            if idle >= self.attempts:
                msg = f"{tally.missed} rows stay locked by other transactions; run it again when those have ended"
                raise DatabaseTimeout(msg)
            if idle:
                await asyncio.sleep(_PAUSE)

    async def _pass(
        self,
        owner: UUID,
        version: int,
        tally: Tally,
        *,
        pace: Pace,
        show: Progress,
        keys: NamespaceKeys | None = None,
    ) -> int:
        """Pass through all columns once; return the number of rows resealed."""
        before = tally.resealed.total()
        tally.begin_pass()
        for column in self.columns_of(owner):
            await self._column(column, owner, version, tally, pace=pace, show=show, keys=keys)
        return tally.resealed.total() - before

    async def _column(
        self,
        column: SealedColumn,
        owner: UUID,
        version: int,
        tally: Tally,
        *,
        pace: Pace,
        show: Progress,
        keys: NamespaceKeys | None,
    ) -> None:
        pages = SealedPages(
            self.database, column, owner, version, wanted=OLDER, limit=pace.chunk, distributed=self.distributed
        )
        async for page in pages:
            if not page.rows:
                continue
            # Ask the keyring for each chunk. It extends a lease of AES-256-GCM, and returns the keys of a later rotation.
            done = await reseal_rows(
                self.database,
                self.journal,
                keys or await self.keyring.open(owner),
                column,
                page.rows,
                outbox=self.copies is not None,
                distributed=self.distributed,
            )
            if done.written:
                tally.resealed[str(column)] += done.written
            if done.unreadable:
                tally.unreadable[str(column)] += len(done.unreadable)
                tally.named += done.unreadable[: NAMED - len(tally.named)]
            tally.missed += done.missed
            show("reseal", tally.resealed.total())
            await pace.after(len(page.rows))

    async def _check_uses(self, owner: UUID, version: int, rows: int) -> None:
        """Refuse a run that would leave a key too few uses for the service. Resealing a row takes one use, as writing it does."""
        if (await self.keyring.open(owner)).leased_version is None:
            return
        async with self.database.connection(owner) as connection:
            row = await connection.fetchrow(_SQL["lease"], owner, version)
        if row is not None and row["record_lease"] + rows > SUITE_1_LIMIT * 3 // 4:
            msg = (
                f"resealing {rows} rows would leave this AES-256-GCM key too few uses for the service; "
                "rotate to xaes-256-gcm first, whose uses are not limited"
            )
            raise SealingLimitExceeded(msg)
