"""Where the access policy of a cell is kept: one sealed value, replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import ACCESS_POLICY
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed

if TYPE_CHECKING:
    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

_SQL = load_queries("cell/access_policy")


class AccessPolicyStore:
    """Reads and replaces the policy's bytes; what stands in them is the driver's.

    The version is bound to the sealed value, so an older policy does not open under a newer number. Somebody who can write to the
    database can put an older row back whole; who reads keeps the highest version that it has seen.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def get(self) -> tuple[int, bytes]:
        """Return version and bytes; version 0 where there is none.

        Raises:
            IntegrityError: the value was altered, or is of another version.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"])
        if row is None:
            return 0, b""
        version, sealed = row["version"], row["data"]
        data = await self._keyring.with_keys(
            self._keyring.cell_id, lambda keys: keys.open(ACCESS_POLICY, (version,), sealed)
        )
        return version, data

    async def put(self, data: bytes, *, version: int) -> None:
        """Replace the policy.

        Args:
            data: the whole of it.
            version: as it was read; 0 to make the first one.

        Raises:
            ConditionFailed: it was changed meanwhile.
        """
        keys = await self._keyring.open(self._keyring.cell_id)
        sealed = keys.seal(ACCESS_POLICY, (version + 1,), data)
        async with self._database.connection(NO_NAMESPACE) as connection:
            if version == 0:
                done = await connection.fetch(_SQL["create"], sealed)
            else:
                done = await connection.fetch(_SQL["replace"], version, sealed)
        if not done:
            msg = "somebody else changed the access policy meanwhile; look at it and try again"
            raise ConditionFailed(msg)
