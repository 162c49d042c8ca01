"""The anchor in an object store: one object for each statement, with a retention lock (docs/how-to/anchors.md).

The objects of a cell are numbered 1, 2, 3 ... Each is created only if its key does not exist, states the newest positions of all
processes, and has the hash of the object before it. So the newest valid object has everything.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson

from strongroom.driver.audit.chain import GENESIS
from strongroom.driver.audit.events import now
from strongroom.driver.audit.statement import Statement, new_statement, of_fields
from strongroom.kms import Background
from strongroom.storage.cell.positions import is_older, newest_by_name

from .errors import AnchorUnavailable
from .s3 import EXISTS, MAX_OBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.config import AnchorConfig
    from strongroom.kms import SigningKey
    from strongroom.storage.cell.positions import Position

    from .s3 import Bucket, Version

FOLDER = 1000
"""Number of objects in a folder. A reader lists the folders, and then the last one."""
MOST_INVALID = 500
"""Number of objects without a valid signature that a reader looks at. With more, a person must look."""
_TRIES = 10
_KEY = re.compile(r"(\d{12})/(\d{15})\.json")


@dataclass(frozen=True, slots=True)
class Found:
    """The newest valid object.

    Attributes:
        statement: Its statement.
        written_at: The time at which it was written, by the clock of the object store.
    """

    statement: Statement
    written_at: datetime


class AnchorBucket:
    """Reads and writes the anchors of one cell.

    Attributes:
        url: The address of the objects, for messages.
        interval: The time between two objects, in seconds.
        work: The state of reading and writing, for monitoring.
        found: The newest valid object that was read or written; None if there was none.

    Args:
        bucket: The bucket.
        cell_id: The id of the cell.
        config: The section of the configuration.
    """

    def __init__(self, bucket: Bucket, cell_id: UUID, config: AnchorConfig) -> None:
        self._bucket, self._config = bucket, config
        self._prefix = f"{config.prefix}{cell_id}/"
        self._is_checked = False
        self.url = f"s3://{bucket.name}/{self._prefix}"
        self.interval = config.interval_seconds
        self.work = Background("anchors in the object store")
        self.found: Found | None = None
        self._confirmed_at = time.monotonic()

    async def newest(self, public_key: bytes) -> Statement | None:
        """Return the statement of the newest valid object; None if there is none.

        Every version of an object is looked at, so that a forged version or a delete marker does not hide the newest one.

        Args:
            public_key: The public key of the cell's audit log.

        Raises:
            AnchorUnavailable: The bucket can't be read, has no object lock, or has too many objects that are not valid.
        """
        await self.check()
        invalid = 0
        for folder in reversed(await self._bucket.folders(self._prefix)):
            for version in reversed(await self._bucket.versions(folder)):
                statement = await self._read(version, public_key)
                if statement is not None:
                    self.found = Found(statement, version.written_at)
                    return statement
                invalid += 1
                if invalid > MOST_INVALID:
                    msg = (
                        f"the last {invalid} objects of {self.url} were not written by this cell, so that the newest anchor is not "
                        "known; find out who wrote them, and move the cell to another prefix"
                    )
                    raise AnchorUnavailable(msg)
        self.found = None
        return None

    async def write(
        self,
        positions: Sequence[Position],
        key: SigningKey,
        *,
        newest: Statement | None = None,
        forget: Sequence[Position] = (),
    ) -> bool:
        """Write an object with the newest positions, if a position changed or the newest object will lose its lock.

        Args:
            positions: The present positions.
            key: The cell's audit key.
            newest: The statement of the newest valid object, as `newest` returned it last; None to read it.
            forget: Positions that the object does not have any more, unless a newer one is anchored.

        Returns:
            Whether an object was written.

        Raises:
            AnchorUnavailable: The bucket can't be read or written.
        """
        blocked = 0
        for _ in range(_TRIES):
            newest = newest or await self.newest(key.public_key)
            before = () if newest is None else newest.positions
            merged = newest_by_name(before, [each for each in positions if each.number and each.digest])
            for each in forget:
                if each.name in merged and not is_older(each, merged[each.name]):
                    del merged[each.name]
            if tuple(merged[name] for name in sorted(merged)) == before and not self._ends_soon():
                return False
            number = max(blocked, 0 if newest is None else newest.number) + 1
            previous = GENESIS if newest is None else newest.hash()
            made = new_statement(list(merged.values()), at=now(), number=number, previous=previous, complete=True)
            content = _encoded(made.signed(key))
            if len(content) > MAX_OBJECT:
                msg = f"{len(merged)} positions take {len(content)} bytes, and a reader takes {MAX_OBJECT}; report it as a bug"
                raise AnchorUnavailable(msg)
            try:
                await self._bucket.put(
                    self._key(number),
                    content,
                    mode=self._config.retention.upper(),
                    keep=timedelta(days=self._config.retention_days),
                )
            except AnchorUnavailable as error:
                if error.code not in EXISTS:
                    raise
                blocked, newest = number, None  # another process wrote it, or it is forged
            else:
                if self._bucket.server_time is not None:
                    self.found = Found(made, self._bucket.server_time)
                return True
        msg = f"no object of {self.url} could be written, because others wrote each number first; try again"
        raise AnchorUnavailable(msg)

    async def check(self) -> None:
        """Refuse a bucket whose objects can be deleted or overwritten. A bucket that passed is not checked again.

        Raises:
            AnchorUnavailable: It has no object lock or no versioning, or can't be read.
        """
        if not self._is_checked:
            await self._bucket.refuse_unlocked()
            self._is_checked = True

    @property
    def age(self) -> timedelta | None:
        """The age of the newest object when it was read, by the clock of the object store; None if there was none."""
        server_time = self._bucket.server_time
        return None if self.found is None or server_time is None else server_time - self.found.written_at

    @property
    def age_ratio(self) -> float:
        """The time since the newest anchor was last written or confirmed by this process, as a multiple of the interval."""
        return (time.monotonic() - self._confirmed_at) / self.interval

    def confirmed(self) -> None:
        """Record that the newest anchor has the present state."""
        self._confirmed_at = time.monotonic()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._bucket.aclose()

    def _ends_soon(self) -> bool:
        age = self.age
        return age is not None and age > timedelta(days=self._config.retention_days) / 2

    def _key(self, number: int) -> str:
        return f"{self._prefix}{number // FOLDER:012d}/{number:015d}.json"

    async def _read(self, version: Version, public_key: bytes) -> Statement | None:
        """Return the statement in an object; None if this cell did not write it at this place."""
        place = _KEY.fullmatch(version.key.removeprefix(self._prefix))
        if place is None or version.size > MAX_OBJECT:
            return None
        number = int(place[2])
        if self._key(number) != version.key:
            return None
        statement = _decoded(await self._bucket.get(version), number)
        return statement if statement is not None and statement.is_signed(public_key) else None


def _encoded(statement: Statement) -> bytes:
    return orjson.dumps({**statement.fields(), "number": statement.number, "previous": statement.previous.hex()})


def _decoded(content: bytes, number: int) -> Statement | None:
    try:
        fields: Any = orjson.loads(content)
        previous = bytes.fromhex(fields["previous"])
        if fields["number"] != number or len(previous) != len(GENESIS):
            return None
    except (KeyError, TypeError, ValueError):
        return None
    statement = of_fields(fields, number=number, previous=previous)
    return statement if statement is not None and statement.is_complete else None
