"""A keyring file on disk: read when it changes, changed under a lock, and compared with the registry's record of it.

Every copy of a keyring file may be changed on its own host, and KEKs of one copy are unknown to the others. So each change of
a file is recorded in the registry, and a copy that lacks the recorded change is refused (DESIGN.md, "The local provider").
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from strongroom.kms.errors import KeyConflict, KeyringDiverged, KeyringFileError

from .content import new_change
from .keyring_file import lock, new_keyring, read_keyring, write_keyring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from .content import KeyringFile, KeyringHead
    from .ledger import KeyringLedger

    T = TypeVar("T")

_ATTEMPTS = 5


class RegisteredFile:
    """A keyring file of one provider.

    Args:
        provider: The id of the provider.
        path: The file.
        passphrase: The passphrase of a protected file, or None.
        ledger: The record of the newest change, or None to compare with nothing.
    """

    def __init__(self, provider: str, path: Path, *, passphrase: str | None, ledger: KeyringLedger | None) -> None:
        self.path = path
        self._provider = provider
        self._passphrase = passphrase
        self._ledger = ledger
        self._content: KeyringFile | None = None
        self._seen: tuple[int, int, int, int] | None = None
        self._changing = asyncio.Lock()  # one thread of the process waits for the file's lock, not many

    async def current(self, *, again: bool = False) -> KeyringFile:
        """Return the content, which is read again if the file has changed.

        Args:
            again: Whether it is read in any case. On a network file system, a change of another host can be seen late.

        Raises:
            KeyringFileError: The file can't be read, or is not the keyring that this process has used before.
        """
        seen = self._stamp()  # takes microseconds; reading a file with a passphrase takes a third of a second
        if again or self._content is None or seen is None or seen != self._seen:
            content = await asyncio.to_thread(read_keyring, self.path, self._passphrase)
            if self._content is not None:
                self._check_same(self._content, content)
            self._content, self._seen = content, seen
        return self._content

    async def for_wrapping(self) -> KeyringFile:
        """Return the content, whose KEKs may wrap new keys, after comparing the file with the registry.

        Another copy may have retired the version that this one would wrap with.

        Raises:
            KeyringDiverged: It is not the copy that the registry records.
            KeyringFileError: As `current`.
        """
        if self._ledger is not None:
            await self.check_registered()
        return await self.current()

    async def check_registered(self, *, record: bool = True) -> None:
        """Compare the file with the registry.

        Args:
            record: Whether changes that the registry lacks are recorded.

        Raises:
            KeyringDiverged: It is not the copy that the registry records.
            KeyringFileError: As `current`.
        """
        for _ in range(_ATTEMPTS):
            recorded = await self._recorded()  # first, because a file has a change before the registry has it
            content = await self.current()
            if recorded is not None and not content.descends_from(recorded.change):
                content = await self.current(again=True)
            self._check(content, recorded)
            if not record or await self._record(content, recorded):
                return
        msg = f"the keyring {self.path} was changed by other processes in each of {_ATTEMPTS} attempts; try again"
        raise KeyConflict(msg)

    async def create(self) -> bool:
        """Create an empty file if there is none. Return whether one was created.

        Raises:
            KeyringFileError: The file can't be written, or the registry records a keyring of this provider.
        """
        async with self._locked():
            if self.path.exists():
                return False
            recorded = await self._recorded()
            if recorded is not None:
                msg = (
                    f"the keyring {self.path} is missing, and the registry records that keyring {recorded.keyring_id} makes "
                    f"the KEKs of {self._provider}; copy its file from the host that has it, or restore it from a backup"
                )
                raise KeyringDiverged(msg)
            await self._write(new_keyring(self._passphrase))
            return True

    async def change(
        self,
        edit: Callable[[KeyringFile], T],
        *,
        diverged: bool = False,
        has_caught_up: Callable[[T], bool] = lambda _: False,
    ) -> T:
        """Change the file, and record the change in the registry. An edit that changes no version writes nothing.

        Args:
            edit: Changes the content, and returns the result of this call.
            diverged: Whether a file may be changed that is not the copy which the registry records. Its changed content must be.
            has_caught_up: Returns whether the edit made the file the same as another copy. That is not a change of its own, so
                the copies agree afterwards.

        Raises:
            KeyringDiverged: The file is not the copy that the registry records. It is unchanged.
            KeyringFileError: The file can't be read or written.
        """
        async with self._locked():
            before = await asyncio.to_thread(read_keyring, self.path, self._passphrase)
            recorded = await self._recorded()
            if not diverged:
                self._check(before, recorded)
            after = before.copied()
            result = edit(after)
            self._check(after, recorded)
            if after.versions() == before.versions() and after.lineage == before.lineage:
                return result
            if not has_caught_up(result):
                after.lineage.append(new_change())
            await self._write(after)
            await self._record_or_restore(after, before, recorded)
            return result

    async def adopt(self) -> KeyringHead:
        """Record this file as the one that makes the KEKs of its provider, whatever the registry recorded before."""
        content = await self.current()
        if self._ledger is not None:
            await self._ledger.adopt(self._provider, content.head)
        return content.head

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Hold the file's lock. A caller that is cancelled while it waits does not get the lock afterwards."""
        async with self._changing:
            taking = asyncio.ensure_future(asyncio.to_thread(lock, self.path))
            try:
                held = await asyncio.shield(taking)
            except asyncio.CancelledError:
                taking.add_done_callback(_unlock)
                raise
            try:
                yield
            finally:
                os.close(held)

    async def _write(self, content: KeyringFile) -> None:
        """Write the file. A caller that is cancelled meanwhile waits for the end, because it must not release the lock before."""
        writing = asyncio.ensure_future(asyncio.to_thread(write_keyring, self.path, content, self._passphrase))
        cancelled = None
        while not writing.done():
            try:
                await asyncio.wait({writing})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
        writing.result()

    async def _recorded(self) -> KeyringHead | None:
        """Return the change that the registry records; None if it records none."""
        return None if self._ledger is None else await self._ledger.head(self._provider)

    def _check(self, content: KeyringFile, recorded: KeyringHead | None) -> None:
        """Raise `KeyringDiverged` if the content was made without the recorded change."""
        if recorded is not None and not content.descends_from(recorded.change):
            raise KeyringDiverged(_diverged(self._provider, self.path, content, recorded))

    async def _record(self, content: KeyringFile, recorded: KeyringHead | None) -> bool:
        """Record the newest change. Return False if another process recorded a change first."""
        if self._ledger is None or (recorded is not None and recorded.change == content.head.change):
            return True
        expected = None if recorded is None else recorded.change
        return await self._ledger.advance(self._provider, content.head, expected=expected)

    async def _record_or_restore(self, after: KeyringFile, before: KeyringFile, recorded: KeyringHead | None) -> None:
        """Record a change that was written. If another copy of the file was recorded first, restore the file.

        After another error the file keeps the change. It is recorded with the next one, because the file descends from the
        recorded change.
        """
        while not await self._record(after, recorded):
            recorded = await self._recorded()
            try:
                self._check(after, recorded)  # a process with the same file may have recorded it
            except KeyringDiverged:
                await self._write(before)
                raise

    def _check_same(self, known: KeyringFile, content: KeyringFile) -> None:
        if content.keyring_id != known.keyring_id:
            msg = f"{self.path} was replaced by another keyring, {content.keyring_id}; put back the file of keyring {known.keyring_id}"
            raise KeyringFileError(msg)
        if not (content.descends_from(known.head.change) or known.descends_from(content.head.change)):
            msg = (
                f"{self.path} was replaced by a copy that was changed on another host; run "
                "'strongroom keys keyring merge FILE' with the replaced file"
            )
            raise KeyringDiverged(msg)

    def _stamp(self) -> tuple[int, int, int, int] | None:
        """Return values that change with the file, or None if it can't be examined. Reading it then raises the error."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode


def _unlock(taking: asyncio.Future[int]) -> None:
    if not taking.cancelled() and taking.exception() is None:
        os.close(taking.result())


def _diverged(provider: str, path: Path, content: KeyringFile, recorded: KeyringHead) -> str:
    if content.keyring_id != recorded.keyring_id:
        why = f"is keyring {content.keyring_id}, and the KEKs of {provider} are made by keyring {recorded.keyring_id}"
        advice, lost = "Put the file of that keyring in its place", ""
    else:
        when = "" if recorded.changed_at is None else f" at {recorded.changed_at:%Y-%m-%d %H:%M} UTC"
        why = f"has {len(content.lineage)} changes and lacks change {recorded.changes}, which another copy of it recorded{when}"
        advice = "Copy the newest file to this host if this copy has made no KEKs"
        lost = ". If the newest file is lost, accept this one with 'strongroom keys keyring adopt'"
    return (
        f"the keyring {path} {why}; a KEK of one copy is unknown to the other. {advice}, or run "
        f"'strongroom keys keyring merge OTHER_FILE' to unite two copies{lost}; 'strongroom keys keyring status' lists what is missing"
    )
