"""Seal old rows anew under the active data key, while services read and write (DESIGN.md, "Sealing anew").

    count      rows that name an older version, from their headers
    reseal     each is opened, sealed and written, unless somebody changed it since it was read
    wait       until every process has read the registry since the rotation: until then some still seal with the old key
    reseal     again, until a complete pass finds no row of an older version but those that do not open
    index      likewise the copies in a search index

It can be broken off and run again: what is left to do stands in the rows.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeAlias

from strongroom.kms import KeyClass, KeyDestroyed, SealingLimitExceeded
from strongroom.kms.keys.leases import SUITE_1_LIMIT
from strongroom.storage.checks import check_number, open_keys
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.errors import DatabaseTimeout

from .reseal_rows import reseal_rows
from .sealed_columns import sealed_columns
from .sealed_pages import CHUNK, COUNTED, OLDER, SealedPages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.kms import Keyring, NamespaceKeys
    from strongroom.storage.engine.database import Database

    from .reseal_rows import UnreadableRow
    from .sealed_columns import SealedColumn

_SQL = load_queries("keys/reseal")

RATE = 2000
"""Rows a second, unless another rate is asked for: a fraction of what a server writes."""
NAMED = 100
"""Unreadable rows that are named at most; all are counted."""
_SKEW = 60.0
"""Seconds by which the clocks of two hosts may differ, when one goes on with what the other began."""
_PAUSE = 0.5
_ATTEMPTS = 20
"""Passes in a row that move nothing, as others hold the rows, before that is told."""

Progress: TypeAlias = Callable[[str, int], None]
"""Called with a step and a number: "total", rows to be sealed anew; "reseal", rows done so far; "wait", seconds left; "scan", rows
looked at; "index", documents of older versions left in the search index."""


class SealedCopies(Protocol):
    """A search index outside the database, which holds copies of sealed records."""

    async def renew(self, namespace_id: UUID, version: int, progress: Progress) -> int:
        """Copy what is of older versions than this anew, until nothing of them is left; return how many documents that were.

        Raises:
            StrongroomError: some stay.
        """

    async def uses(self, namespace_id: UUID, version: int) -> int:
        """Return how many documents name a version, or none that can be read."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """What a run did.

    Attributes:
        version: that everything is sealed with now, but what is unreadable.
        found: rows of older versions that there were at first.
        resealed: rows that this run sealed anew, by column; also what others wrote with the old key meanwhile.
        unreadable: rows that do not open, by column; they are as they were.
        named: some of them.
        seconds: that it took, without waiting.
    """

    version: int
    found: int
    resealed: Mapping[str, int]
    unreadable: Mapping[str, int]
    named: Sequence[UnreadableRow]
    seconds: float


@dataclass(slots=True)
class Tally:
    """A `Resealed` in the making: what a pass found is of that pass, the rest of the whole run."""

    resealed: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    named: list[UnreadableRow] = field(default_factory=list)
    missed: int = 0

    def begin_pass(self) -> None:
        """Forget what the last pass left over: the next one finds it again."""
        self.unreadable.clear()
        self.named.clear()
        self.missed = 0


class Reseal:
    """Seals anew, one namespace a call, or the cell's own rows.

    Args:
        database: whose statements look rows up by key, with a limit for waiting for locks.
        keyring: for the keys.
        copies: the search index, where it is not the database.
        wait: seconds after which every process knows a change of the registry: the longest time that one keeps keys, and that a
            request may take after it has got them.
        distributed: whether the tables are spread over a Citus cluster.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        copies: SealedCopies | None,
        wait: float,
        distributed: bool = False,
    ) -> None:
        self.database = database
        self.keyring = keyring
        self.columns: tuple[SealedColumn, ...] = sealed_columns()
        self.copies = copies
        self.distributed = distributed
        self._wait = wait

    async def run(self, owner: UUID, *, rate: float = RATE, progress: Progress | None = None) -> Resealed:
        """Seal all rows of older versions anew, and return when a complete pass finds none.

        Args:
            owner: id of the namespace, or of the cell.
            rate: rows a second at most; 0 for no limit.
            progress: see there.

        Raises:
            NamespaceNotFound, KeyDestroyed: there is no such namespace, or it is shredded.
            SealingLimitExceeded: a key of AES-256-GCM would have too few uses left for the service.
            DatabaseTimeout: others hold rows all the time.
            KmsError, StorageError, SearchIndexMismatch: run it again.
        """
        check_number("rate", int(rate))
        show = progress or (lambda _step, _number: None)
        version = (await self.fresh_keys(owner)).active_version(KeyClass.DATA)
        began, waited = time.monotonic(), 0.0
        found = await self.count(owner, version, wanted=OLDER, progress=show)
        show("total", found.total())
        await self._check_uses(owner, version, found.total())
        tally, pace = Tally(), Pace(rate)
        if await self.unheard(owner):
            await self._pass(owner, version, tally, pace=pace, show=show)
            waited = await self.unheard(owner)
            await sleep(waited, show)
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
        """Return keys as the registry has them now."""
        self.keyring.evict(owner)
        return await open_keys(self.keyring, owner)

    def columns_of(self, owner: UUID) -> list[SealedColumn]:
        """Return the columns that may hold values under an owner's keys."""
        return [column for column in self.columns if column.table.namespaced or owner == self.keyring.cell_id]

    async def count(self, owner: UUID, version: int, *, wanted: str, progress: Progress) -> Counter[str]:
        """Return how many values name a version, or an older one, by column; none for columns without any.

        Args:
            owner: whose.
            version: which.
            wanted: `USING` or `OLDER`.
            progress: told "scan".
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

    async def unheard(self, owner: UUID) -> float:
        """Return after how many seconds every process has read the registry since the last rotation; 0: it has.

        Raises:
            KeyDestroyed: it was shredded meanwhile.
        """
        records = [
            record for record in await self.keyring.store.list_data_keys(owner) if record.key_class is KeyClass.DATA
        ]
        if not records:
            raise KeyDestroyed
        newest = max(record.version for record in records)
        if newest == 1:
            return 0.0
        age = (datetime.now(UTC) - max(record.created_at for record in records)).total_seconds()
        return max(0.0, min(self._wait, self._wait + _SKEW - age))

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
        """Go through all columns again and again, until a pass finds nothing to do.

        Args:
            owner: whose.
            version: values of older versions than this are sealed anew.
            tally: what was done is added to it.
            pace: how fast.
            show: told "reseal".
            keys: to open and seal with; None for those of the moment.

        Raises:
            DatabaseTimeout: others hold rows all the time.
        """
        idle = 0
        while True:
            moved = await self._pass(owner, version, tally, pace=pace, show=show, keys=keys)
            if not moved and not tally.missed:
                return
            idle = 0 if moved else idle + 1
            if idle >= _ATTEMPTS:
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
        """Go through all columns once; return how many rows were sealed anew."""
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
        name = str(column)
        async for page in pages:
            if not page.rows:
                continue
            # For each chunk anew: a lease of AES-256-GCM is extended there, and a rotation meanwhile taken up.
            done = await reseal_rows(
                self.database,
                keys or await self.keyring.open(owner),
                column,
                page.rows,
                outbox=self.copies is not None,
                distributed=self.distributed,
            )
            if done.written:
                tally.resealed[name] += done.written
            if done.unreadable:
                tally.unreadable[name] += len(done.unreadable)
                tally.named += done.unreadable[: NAMED - len(tally.named)]
            tally.missed += done.missed
            show("reseal", tally.resealed.total())
            await pace.after(len(page.rows))

    async def _check_uses(self, owner: UUID, version: int, rows: int) -> None:
        """Refuse to spend what the service needs: sealing anew uses a key as writing does."""
        if (await self.keyring.open(owner)).leased_version is None:
            return
        async with self.database.connection(owner) as connection:
            row = await connection.fetchrow(_SQL["lease"], owner, version)
        if row is not None and row["record_lease"] + rows > SUITE_1_LIMIT * 3 // 4:
            msg = (
                f"{rows} rows to seal anew would leave this AES-256-GCM key too few uses for the service; "
                "rotate to xaes-256-gcm first, whose uses are not limited"
            )
            raise SealingLimitExceeded(msg)


class Pace:
    """Holds a run to a rate.

    Attributes:
        chunk: rows in one statement: never more than a second's.

    Args:
        rate: rows a second; 0 for no limit.
    """

    def __init__(self, rate: float) -> None:
        self.chunk = CHUNK if rate == 0 else max(1, min(CHUNK, int(rate)))
        self._rate = rate
        self._due = time.monotonic()

    async def after(self, rows: int) -> None:
        """Wait as long as so many rows may take; time that was lost is not made good."""
        if self._rate:
            now = time.monotonic()
            self._due = max(self._due + rows / self._rate, now)
            await asyncio.sleep(self._due - now)


async def sleep(seconds: float, show: Progress) -> None:
    """Wait, and tell how long still."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        show("wait", round(left))
        await asyncio.sleep(min(left, 1.0))
