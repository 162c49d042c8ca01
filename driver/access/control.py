"""The access policy of a running cell. It is read again after ten seconds, and every change is recorded in the audit log."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from strongroom.driver.audit.events import of_policy
from strongroom.kms import IntegrityError, commits_several_times
from strongroom.storage.cell.positions import POLICY, Position, is_older

from . import changes
from .api_keys import find_by_api_key
from .caller import CALLER
from .errors import InvalidPolicyChange, NotAuthenticated, PolicyAltered, PolicyRolledBack
from .policy import Policy
from .reasons import check_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.driver.audit import AuditLog
    from strongroom.storage import AccessPolicyStore

FRESH_SECONDS = 10.0
"""Time before a policy is read again, in seconds. A revoked key or role stays valid for at most this time."""

_ALTERED = (
    "the access policy in the database does not open, so no call is allowed: it was altered, or is of another cell. Restore the row "
    "of the table access_policy from a backup, and find out who changed it"
)
_NEVER = datetime.min.replace(tzinfo=UTC)


class AccessControl:
    """Reads and changes the policy.

    Attributes:
        newest_known: The highest version of the policy that is known to have been in force. An older policy is refused.
        anchored: The newest anchored position of the policy; None if there is none. Another policy of its version is refused.
        accepts_older: Whether an older policy is used nevertheless, by commands that examine or accept it.
        digest_read: SHA-256 of the policy that was read last.
        alterations: The number of times that the policy was found to be altered or older, for monitoring.

    Args:
        store: Stores the policy.
        log: Records the hash of each policy before and after it is stored.
        clock: Returns monotonic seconds. The wall clock of this host is not used.
    """

    def __init__(
        self, store: AccessPolicyStore, *, log: AuditLog | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._log, self._clock = store, log, clock
        self.newest_known = self.alterations = 0
        self.anchored: Position | None = None
        self.accepts_older = False
        self.digest_read = b""
        self._policy = Policy()
        self._read_at = float("-inf")
        self._server_time, self._server_time_at = _NEVER, 0.0
        self._reading = asyncio.Lock()

    def kept(self) -> Policy | None:
        """Return the policy if it was read in the last ten seconds, else None."""
        return self._policy if self._clock() - self._read_at < FRESH_SECONDS else None

    def now(self) -> datetime:
        """Return the time in UTC by the database server's clock, for comparison with the expiries in a policy that was read.

        Between two reads, it advances with the monotonic clock. It never goes back, so that what has expired stays expired.
        """
        if self._server_time == _NEVER:
            return _NEVER
        return self._server_time + timedelta(seconds=max(0.0, self._clock() - self._server_time_at))

    async def policy(self) -> Policy:
        """Return the policy as it was at most ten seconds ago.

        Raises:
            PolicyRolledBack: The policy was replaced by an older one, or deleted.
            PolicyAltered: The policy does not open.
            StorageError: The policy can't be read. No call is allowed then.
        """
        policy = self.kept()
        if policy is not None:
            return policy
        async with self._reading:
            if self.kept() is None:
                await self._read()
        return self._policy

    async def latest(self) -> Policy:
        """Read the policy and return it.

        Raises:
            PolicyAltered, StorageError: As `policy`.
        """
        async with self._reading:
            await self._read()
        return self._policy

    @commits_several_times
    async def change(self, edit: Callable[[Policy], Policy]) -> Policy:
        """Read the policy and change it.

        Args:
            edit: Returns the next policy for the current one. It may call `now`, which is then the time of this read.

        Returns:
            The policy after the change.

        Raises:
            InvalidPolicyChange, PermissionDenied: Raised by `edit`.
            PolicyAltered: As `policy`.
            ConditionFailed: Another process changed the policy at the same time.
            AuditUnavailable: The change could not be recorded.
        """
        async with self._reading:
            await self._read()
            wanted = changes.without_expired(edit(self._policy), now=self.now())
            is_changed = wanted != self._policy
            if is_changed:
                await self._put(wanted.encode(), self._policy.version, self._policy.version + 1, {})
            changed = self._policy
        if is_changed:
            await self._anchor()
        return changed

    @commits_several_times
    async def accept_older(self, version: int, *, reason: str) -> int:
        """Put the older policy that the database has in force again, as the newest version. The change is recorded.

        Args:
            version: The version of that policy; 0 if the database has none.
            reason: Why the older policy is accepted, for example a restore from a backup.

        Returns:
            The new version of the policy.

        Raises:
            InvalidPolicyChange: The database has another version, the policy is not older than the newest known one, or the reason is
                empty, too long or can't be shown.
            ConditionFailed: Another process changed the policy at the same time.
            AuditUnavailable: The change could not be recorded.
        """
        check_reason(reason, "the acceptance of an older policy")
        async with self._reading:
            stored, data, _ = await self._store.get()
            if stored != version:
                msg = f"the access policy in the database has version {stored}, not {version}; check it and run this again"
                raise InvalidPolicyChange(msg)
            found = Position(POLICY, stored, sha256(data).digest())
            if not self._is_older(found):
                msg = f"the access policy has version {stored}, and no newer one is known; there is nothing to accept"
                raise InvalidPolicyChange(msg)
            fields = {"accepted_version": stored, "instead_of": self.newest_known, "reason": reason}
            accepted = data if stored else Policy().encode()
            await self._put(accepted, stored, self.newest_known + 1, fields)
        await self._anchor()
        return self._policy.version

    async def refuse_older(self) -> None:
        """Refuse a stored policy that is older than one that was in force. No key is needed, so that a cell opens without its KMS.

        Raises:
            PolicyRolledBack: The policy was replaced by an older one, or deleted.
            StorageError: The database can't be read.
        """
        version = await self._store.version()
        if version < self.newest_known:
            raise PolicyRolledBack(_rolled_back(version, self.newest_known))

    async def digest(self) -> tuple[int, str]:
        """Return the version and the SHA-256 of the stored policy, for reviews."""
        version, data, _ = await self._store.get()
        return version, sha256(data).hexdigest()

    async def _put(self, data: bytes, version: int, next_version: int, fields: Mapping[str, object]) -> None:
        """Replace a version of the policy, and record it before and after."""
        await self._record(next_version, data, "begun", fields)
        await self._store.put(data, version=version, next_version=next_version)
        await self._record(next_version, data, "done", fields)
        await self._read()

    async def _anchor(self) -> None:
        """Sign the audit log now, because only signed records prove the new version to a process that starts."""
        if self._log is not None:
            await self._log.checkpoint()

    async def _record(self, version: int, data: bytes, outcome: str, more: Mapping[str, object]) -> None:
        if self._log is not None:
            fields = {"policy_version": version, "policy_digest": sha256(data).hexdigest(), "outcome": outcome, **more}
            await self._log.record(of_policy(fields, CALLER.get()))

    async def _read(self) -> None:
        asked_at = self._clock()
        try:
            version, data, server_time = await self._store.get()
        except IntegrityError:
            self.alterations += 1
            raise PolicyAltered(_ALTERED) from None
        found = Position(POLICY, version, sha256(data).digest())
        if self._is_older(found) and not self.accepts_older:
            self.alterations += 1
            raise PolicyRolledBack(_rolled_back(version, self.newest_known))
        policy = Policy.decode(version, data)
        self._server_time, self._server_time_at = max(self.now(), server_time), self._clock()
        self._policy, self._read_at, self.digest_read = policy, asked_at, found.digest
        self.newest_known = max(self.newest_known, version)
        if self._log is not None:
            self._log.policy_version = max(self._log.policy_version, version)

    def _is_older(self, found: Position) -> bool:
        """Return whether a stored policy is older than the newest known one, or is another policy of the anchored version."""
        return found.number < self.newest_known or (self.anchored is not None and is_older(found, self.anchored))


def _rolled_back(version: int, newest: int) -> str:
    """Return the message about an older policy: what is wrong, the likely causes, and what to do."""
    found = f"is older than one that was in force: it has version {version}" if version else "was deleted"
    if version == newest:
        found = f"is not the one of version {version} that was in force: an older one was put back and changed"
    return (
        f"the access policy in the database {found}, and version {newest} is in the audit log, its checkpoints or the bucket. "
        f"Restore version {newest}, and find out who changed the table access_policy. If the database was restored from a backup on "
        f"purpose, run 'strongroom access accept-older --version {version} --reason TEXT'"
    )


def by_api_key(policy: Policy, key: str, *, now: datetime) -> tuple[str, str]:
    """Return the principal of an API key, and the key's id.

    Args:
        policy: The cell's policy.
        key: The key.
        now: The time, as `AccessControl.now` returns it.

    Raises:
        NotAuthenticated: No principal has this key, or it has expired or was revoked.
    """
    owner = find_by_api_key(policy, key, now=now)
    if owner is None:
        msg = "no principal has this API key, or it has expired or was revoked; ask an owner for a new one"
        raise NotAuthenticated(msg)
    return owner[0].name, owner[1].key_id


def by_certificate(policy: Policy, subject: str) -> str:
    """Return the principal of a certificate that was already verified.

    Args:
        policy: The cell's policy.
        subject: The subject in the form of RFC 4514, as `cryptography`'s `Name.rfc4514_string` returns it.

    Raises:
        NotAuthenticated: No principal has a certificate with this subject.
    """
    for principal in policy.principals.values():
        if subject in principal.subjects:
            return principal.name
    msg = "no principal has a certificate with this subject"
    raise NotAuthenticated(msg)
