"""The anchors of a cell: the newest positions that are known outside of the database, and their comparison with the database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.audit.anchored import logged_positions
from strongroom.kms import Background, StrongroomError
from strongroom.storage import DatabaseUnavailable
from strongroom.storage.cell.positions import (
    POLICY,
    UNKNOWN,
    ContinuedSource,
    Position,
    difference,
    is_older,
    newest_by_name,
)
from strongroom.storage.errors import ACCEPT_OLDER, OlderThanAnchor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from strongroom.driver.audit.statement import Statement
    from strongroom.driver.audit.witness import Known
    from strongroom.kms import SigningKey
    from strongroom.storage.cell.positions import PositionSource

    from .bucket import AnchorBucket

IN_THE_LOG = "the audit log"


@dataclass(frozen=True, slots=True)
class Older:
    """A part of the cell that is older than an anchored state.

    Attributes:
        source: The source of its position.
        found: The present state.
        anchored: The newest anchored state.
        where: The anchor.
    """

    source: PositionSource
    found: Position
    anchored: Position
    where: str

    @property
    def text(self) -> str:
        """A sentence that names both states."""
        return f"{difference(self.found, self.anchored)} in {self.where}"


def older_than_anchor(older: Sequence[Older]) -> OlderThanAnchor:
    """Return the error about parts of the database that are older than anchored states."""
    return OlderThanAnchor([each.text for each in older], advice=advice_for(older))


async def continue_after(older: Older) -> None:
    """Give a part of the database, other than a shard, a number above its anchored one, because a person accepted that it is older.

    Raises:
        StrongroomError: Its present state is not valid, or can't be changed.
    """
    assert isinstance(older.source, ContinuedSource)  # noqa: S101 - only shards are accepted in another way
    await older.source.continue_after(older.anchored)


def advice_for(older: Sequence[Older]) -> str:
    """Return what to do after a restore on purpose. An older access policy is accepted first."""
    policy = next((each for each in older if each.found.name == POLICY), None)
    if policy is None:
        return ACCEPT_OLDER
    first = f"strongroom access accept-older --version {policy.found.number} --reason TEXT"
    return f"first run '{first}', and then {ACCEPT_OLDER.removeprefix('run ')}"


class Anchors:
    """Reads the anchors when a process starts, and collects the positions that are anchored.

    Attributes:
        sources: The parts of the cell that have positions.
        of_the_log: The source of the audit log's position, which only the object store anchors; None for none.
        bucket: The object store; None for none.
        reading: The state of reading from sources and anchors, for monitoring.

    Args:
        folder: The folder of the audit log; None for no log.
        bucket: See above.
    """

    def __init__(self, folder: Path | None, *, bucket: AnchorBucket | None = None) -> None:
        self.sources: list[PositionSource] = []
        self.of_the_log: PositionSource | None = None
        self.bucket = bucket
        self.reading = Background("anchors")
        self._folder = folder
        self._known: dict[str, tuple[Position, str]] = {}

    def newest(self, name: str) -> Position | None:
        """Return the newest anchored position of a part; None if there is none."""
        found = self._known.get(name)
        return None if found is None else found[0]

    @property
    def known(self) -> list[Position]:
        """The newest anchored positions."""
        return [position for position, _ in self._known.values()]

    def learn(self, positions: Sequence[Position], where: str) -> None:
        """Add positions that an anchor has."""
        for each in newest_by_name(positions).values():
            known = self.newest(each.name)
            if known is None or each.number > known.number or (each.number == known.number and known.digest == UNKNOWN):
                self._known[each.name] = (each, where)

    async def read(self, public_key: bytes | None, *, checkpoints: Known | None = None) -> None:
        """Read the newest positions of all anchors. An object store that can't be read is reported, and left out.

        Args:
            public_key: The public key of the cell's audit log; None while it is not known. Only signed positions count with it.
            checkpoints: The checkpoints in the database.

        Raises:
            AuditUnavailable: The audit log can't be read.
        """
        if self._folder is not None:
            try:
                logged = await asyncio.to_thread(logged_positions, self._folder, public_key)
            except OSError as error:
                msg = f"the audit log can't be read: {self._folder}: {error.strerror}; make it readable for this user"
                raise AuditUnavailable(msg) from None
            self.learn(list(logged.positions.values()), IN_THE_LOG)
            self._learn_policy(logged.policy_version)
        if checkpoints is not None:
            self._learn_policy(checkpoints.policy_version(public_key))
        if self.bucket is not None and public_key is not None:
            await self.bucket.work.once(lambda: self.read_bucket(public_key))

    async def read_bucket(self, public_key: bytes) -> Statement | None:
        """Read the newest object of the object store, and return its statement; None if there is none.

        Raises:
            AnchorUnavailable: It can't be read.
        """
        assert self.bucket is not None  # noqa: S101 - the callers look
        found = await self.bucket.newest(public_key)
        if found is not None:
            self.learn(found.positions, self.bucket.url)
        return found

    async def forget(self, positions: Sequence[Position], key: SigningKey) -> None:
        """Leave positions out of the next objects of the object store, unless a newer one is anchored there.

        Args:
            positions: The positions.
            key: The cell's audit key.

        Raises:
            AnchorUnavailable: The object store can't be read or written.
        """
        if self.bucket is not None and positions:
            await self.bucket.write([], key, forget=positions)

    async def older(self) -> list[Older]:
        """Return the parts of the database that are older than their newest anchored states.

        Raises:
            StorageError: The database can't be read.
        """
        found = []
        for source in self.sources:
            for each in await source.stored(self._known):
                anchored, where = self._known.get(each.name, (None, ""))
                if anchored is not None and is_older(each, anchored):
                    found.append(Older(source, each, anchored, where))
        return found

    async def present(self) -> list[Position]:
        """Return the verified positions of all sources. A source that fails is left out, and counted."""
        positions: list[Position] = []
        for source in self.sources:
            try:
                positions += await source.positions()
            except StrongroomError as error:
                self.reading.failed(error)
                if isinstance(error, DatabaseUnavailable):
                    return positions  # the others would wait for it too
            else:
                self.reading.succeeded()
        return positions

    async def aclose(self) -> None:
        """Close the connections of the object store."""
        if self.bucket is not None:
            await self.bucket.aclose()

    async def everything(self) -> list[Position]:
        """Return the positions of `present`, and the audit log's."""
        own = [] if self.of_the_log is None else await self.of_the_log.positions()
        return [*await self.present(), *own]

    def _learn_policy(self, version: int) -> None:
        if version:
            self.learn([Position(POLICY, version, UNKNOWN)], IN_THE_LOG)
