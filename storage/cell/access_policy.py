"""The access policy of a cell: one sealed value, which is always replaced as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.sealing.record_kinds import ACCESS_POLICY
from strongroom.storage.engine.queries import load_queries
from strongroom.storage.engine.row_level_security import NO_NAMESPACE
from strongroom.storage.errors import ConditionFailed

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.kms import Keyring
    from strongroom.storage.engine.database import Database

_SQL = load_queries("cell/access_policy")


class AccessPolicyStore:
    """Reads and replaces the bytes of the policy, which only the driver understands.

    The version is bound to the sealed value, so an older policy does not open under a newer version. An attacker who can write to the
    database can restore an older row as a whole. Therefore the driver remembers the highest version that it has read.

    Every operation raises `DatabaseUnavailable` if the database can't be reached, and `KmsError` if the cell's keys are unavailable.

    Args:
        database: The cell's database.
        keyring: The cell's unwrapped keys.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def get(self) -> tuple[int, bytes, datetime]:
        """Return the policy and the server's time.

        Returns:
            The version and the bytes, which are 0 and none if there is no policy, and the time in UTC at which they were read.

        Raises:
            IntegrityError: The value was altered, or belongs to another version.
        """
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"])
        assert row is not None  # noqa: S101 - a SELECT with a row for no policy too
        version, sealed, now = row["version"], row["data"], row["now"]
        if sealed is None:
            return 0, b"", now
        data = await self._keyring.with_keys(
            self._keyring.cell_id, lambda keys: keys.open(ACCESS_POLICY, (version,), sealed)
        )
        return version, data, now

    async def version(self) -> int:
        """Return the version in clear; 0 if there is no policy. The row is not opened, so an edited version is not noticed."""
        async with self._database.connection(NO_NAMESPACE) as connection:
            row = await connection.fetchrow(_SQL["get"])
        assert row is not None  # noqa: S101 - as in `get`
        return int(row["version"])

    async def put(self, data: bytes, *, version: int, next_version: int | None = None) -> None:
        """Replace the policy.

        Args:
            data: The whole policy.
            version: The version that was read; 0 to create the first policy.
            next_version: The new version, higher than every version before; None for the next one.

        Raises:
            ConditionFailed: The policy was changed since it was read.
        """
        keys = await self._keyring.open(self._keyring.cell_id)
        written_version = version + 1 if next_version is None else next_version
        sealed = keys.seal(ACCESS_POLICY, (written_version,), data)
        async with self._database.connection(NO_NAMESPACE) as connection:
            if version == 0:
                written = await connection.fetch(_SQL["create"], written_version, sealed)
            else:
                written = await connection.fetch(_SQL["replace"], written_version, sealed, version)
        if not written:
            msg = "the access policy was changed since it was read; read it and try again"
            raise ConditionFailed(msg)
