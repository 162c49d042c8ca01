"""The access policy of a running cell: read, kept for some seconds, changed, and told to the audit log."""

from __future__ import annotations

import asyncio
import time
from hashlib import sha256
from typing import TYPE_CHECKING

from strongroom.driver.audit.events import of_policy
from strongroom.kms import IntegrityError

from . import changes
from .api_keys import find_by_api_key
from .caller import CALLER
from .errors import NotAuthenticated
from .policy import Policy

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.driver.audit import AuditLog
    from strongroom.storage import AccessPolicyStore

FRESH_SECONDS = 10.0
"""How long a policy is used without looking again: a revoked key or role counts for no longer."""


class AccessControl:
    """Reads and changes the policy.

    Args:
        store: where it is kept.
        log: is told of each policy, by a hash, before it is kept and after.
        clock: monotonic seconds.
    """

    def __init__(
        self, store: AccessPolicyStore, *, log: AuditLog | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._log, self._clock = store, log, clock
        self._policy = Policy()
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def kept(self) -> Policy | None:
        """Return the policy if it was looked at in the last ten seconds; None if `policy` must be asked."""
        return self._policy if self._clock() - self._read_at < FRESH_SECONDS else None

    async def policy(self) -> Policy:
        """Return the policy as it was at most ten seconds ago.

        Raises:
            IntegrityError: it was altered, or an older one was put in its place.
            StorageError: it can't be read; then nobody may do anything.
        """
        kept = self.kept()
        if kept is not None:
            return kept
        async with self._reading:
            if self.kept() is None:
                await self._read()
        return self._policy

    async def latest(self) -> Policy:
        """Return the policy as it is now."""
        async with self._reading:
            await self._read()
        return self._policy

    async def change(self, edit: Callable[[Policy], Policy]) -> Policy:
        """Change the policy as it is now.

        Args:
            edit: from the present policy to the next one; called again if somebody else was faster.

        Returns:
            The policy afterwards.

        Raises:
            InvalidPolicyChange, PermissionDenied: what `edit` raises.
            ConditionFailed: somebody else changed it meanwhile.
        """
        async with self._reading:
            await self._read()
            wanted = changes.without_expired(edit(self._policy), now=changes.utc_now())
            if wanted != self._policy:
                data, version = wanted.encode(), self._policy.version
                await self._tell(version + 1, data, "begun")
                await self._store.put(data, version=version)
                await self._tell(version + 1, data, "done")
                await self._read()
        return self._policy

    async def digest(self) -> tuple[int, str]:
        """Return version and SHA-256 of the policy as it is kept, for the audit log and for reviews."""
        version, data = await self._store.get()
        return version, sha256(data).hexdigest()

    async def _tell(self, version: int, data: bytes, outcome: str) -> None:
        if self._log is not None:
            said = {"policy_version": version, "policy_digest": sha256(data).hexdigest(), "outcome": outcome}
            await self._log.record(of_policy(said, CALLER.get()))

    async def _read(self) -> None:
        asked = self._clock()
        version, data = await self._store.get()
        if version < self._policy.version:
            msg = "the access policy is older than it was: somebody put an old one back, or took it away"
            raise IntegrityError(msg)
        self._policy, self._read_at = Policy.decode(version, data), asked


def by_api_key(policy: Policy, key: str) -> tuple[str, str]:
    """Return the principal of an API key, and the key's id."""
    found = find_by_api_key(policy, key, now=changes.utc_now())
    if found is None:
        raise NotAuthenticated
    return found[0].name, found[1].key_id


def by_certificate(policy: Policy, subject: str) -> str:
    """Return the principal of a certificate that was verified already.

    Args:
        policy: of the cell.
        subject: RFC 4514 text, as `cryptography`'s `Name.rfc4514_string` makes it.
    """
    for principal in policy.principals.values():
        if subject in principal.subjects:
            return principal.name
    raise NotAuthenticated
