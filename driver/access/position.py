"""The position of the access policy, for an anchor outside of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.cell.positions import POLICY, UNKNOWN, Position

from .errors import InvalidPolicyChange

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from strongroom.storage import AccessPolicyStore

    from .control import AccessControl


class PolicyPosition:
    """The source of the policy's position; see `PositionSource`.

    Args:
        store: Stores the policy.
        control: The policy of this process.
    """

    def __init__(self, store: AccessPolicyStore, control: AccessControl) -> None:
        self._store, self._control = store, control

    async def positions(self) -> Sequence[Position]:
        """Read the policy, and return its version and digest.

        Raises:
            PolicyAltered, PolicyRolledBack: It was altered, or is older than before.
            KmsError, StorageError: It can't be read or opened.
        """
        policy = await self._control.latest()
        return [Position(POLICY, policy.version, self._control.digest_read)] if policy.version else []

    async def stored(self, _names: Collection[str], /) -> Sequence[Position]:
        """Return the version that the database states.

        Raises:
            StorageError: The database can't be read.
        """
        return [Position(POLICY, await self._store.version(), UNKNOWN)]

    async def continue_after(self, anchored: Position) -> None:
        """Refuse, because an older policy is accepted by its version.

        Raises:
            InvalidPolicyChange: Always.
        """
        stored = await self._store.version()
        msg = (
            f"the access policy has version {stored}, and version {anchored.number} is anchored; run 'strongroom access accept-older "
            f"--version {stored} --reason TEXT' first, and check it with 'strongroom access review'"
        )
        raise InvalidPolicyChange(msg)
