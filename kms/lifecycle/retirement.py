"""Make a KMS forget the versions of KEKs that wrapped destroyed keys, so that it can't unwrap an old row of the registry.

The KEK is rotated, the keys that are left are wrapped again, and each older version that wraps nothing is retired. Every step is
skipped if it was done, so an interrupted run can be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms.commits import commits_several_times
from strongroom.kms.errors import (
    AccessDenied,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    StrongroomError,
    UnsupportedOperation,
)
from strongroom.kms.key_events import KeyEvent, recording_change
from strongroom.kms.keys.registry import KeyState
from strongroom.kms.provider import KekRef

from .kek_usage import depending_on
from .rewrap import rewrap_data_keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.provider import KmsProvider

SETTLE_SECONDS = 600.0
"""Time between the last rotation of a KEK and the check of what its older versions wrap. A process that wrapped a key before the
rotation has registered it by then: a call of a KMS takes at most 120 s, keys are wrapped in up to three calls, and a change of the
registry waits at most 100 s. A run that continues an interrupted one waits again, because the time of the rotation is not recorded."""

Progress: TypeAlias = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class RetiredVersions:
    """The outcome for one KEK.

    Attributes:
        kek: The KEK.
        primary: The version that wraps now; "" if the KMS did not answer.
        retired: The versions that this run retired.
        reason: Why a version that wrapped a destroyed key still unwraps, or can be enabled again in the KMS; "" if none can.
    """

    kek: KekRef
    primary: str
    retired: tuple[str, ...] = ()
    reason: str = ""


async def keks_of_destroyed_keys(keyring: Keyring, owner: UUID) -> dict[KekRef, set[str]]:
    """Return the KEKs that wrapped the destroyed keys of a namespace, each with the versions that wrapped them last.

    Args:
        keyring: The cell's keyring.
        owner: The id of the namespace, or of the cell.
    """
    found: dict[KekRef, set[str]] = {}
    for record in await keyring.store.list_data_keys(owner):
        if record.state is KeyState.DESTROYED:
            found.setdefault(KekRef(record.provider, record.kek_id), set()).add(record.kek_version)
    return found


@commits_several_times
async def retire_old_versions(
    keyring: Keyring,
    kek: KekRef,
    wrapped_by: set[str],
    *,
    settle: float = SETTLE_SECONDS,
    progress: Progress | None = None,
) -> RetiredVersions:
    """Retire the older versions of a KEK, if one of them wrapped a destroyed key. A refusal of the KMS is returned, not raised.

    Backups of the registry from before can't be opened afterwards.

    Args:
        keyring: The cell's keyring.
        kek: The KEK.
        wrapped_by: The versions that wrapped destroyed keys.
        settle: See `SETTLE_SECONDS`; 0 if no other process has the cell open.
        progress: Called with "rewrap" and the number of keys, and with "settle" and the seconds.
    """
    try:
        provider = keyring.provider_of(kek)
        info = await provider.describe(kek)
    except (KeyNotFound, KeyDestroyed):
        return RetiredVersions(kek, "")
    except StrongroomError as error:
        return RetiredVersions(kek, "", reason=_reason(error))
    is_retired = wrapped_by.isdisjoint(info.versions)
    if info.state != "enabled" or (is_retired and wrapped_by.isdisjoint(info.kept)):
        return RetiredVersions(kek, info.primary_version)
    if not provider.capabilities.retires_versions:
        return RetiredVersions(kek, info.primary_version, reason=_UNSUPPORTED.format(kek=kek))
    if provider.capabilities.rotates_slowly:
        return RetiredVersions(kek, info.primary_version, reason=_SLOW.format(kek=kek))
    retired: list[str] = []
    reason = ""
    try:
        if not is_retired:
            rotate = info.primary_version in wrapped_by
            await _move(keyring, provider, kek, rotate=rotate, settle=settle, progress=progress)
            info = await provider.describe(kek)
        # An earlier run may have failed between the end of a version's use and its deletion.
        with suppress(AccessDenied):  # then the versions are kept
            reason = await _retire(keyring, provider, kek, info.kept, [], is_kept=True)
        if not is_retired and not reason:
            older = [version for version in info.versions if version != info.primary_version]
            reason = await _retire(keyring, provider, kek, older, retired)
        if not reason and (kept := (await provider.describe(kek)).kept):
            reason = _KEPT.format(version=", ".join(kept), kek=kek)
    except StrongroomError as error:
        reason = _reason(error)
    return RetiredVersions(kek, info.primary_version, tuple(retired), reason)


_SLOW = (
    "its KMS may wrap with an older version for hours after a rotation. Rotate it and wrap its keys again (strongroom keys rotate-kek "
    "{kek}, strongroom keys rewrap {kek}), and retire each older version a day later: strongroom keys retire {kek} --version N"
)
_KEPT = (
    "version {version} no longer unwraps, but the KMS still has it, and its administrator can enable it again. Allow the token to "
    "trim {kek} (update on keys/NAME/trim), and run the command again"
)
_UNSUPPORTED = (
    "its KMS keeps every version of a key as long as the key exists. To make it forget, move all keys to a new KEK and delete this "
    "one: strongroom keys rewrap {kek} --to KEK, and strongroom keys retire {kek}"
)


async def _move(
    keyring: Keyring, provider: KmsProvider, kek: KekRef, *, rotate: bool, settle: float, progress: Progress | None
) -> None:
    """Rotate the KEK if its primary version wrapped a destroyed key, and wrap all other keys again under the primary version."""
    if rotate:
        event = KeyEvent("kek.rotate", provider=kek.provider, kek_id=kek.key_id)
        async with recording_change(keyring.key_events, event):
            await provider.rotate_kek(kek)
    if progress is not None:
        progress("settle", int(settle))
    await asyncio.sleep(settle)
    moved = await rewrap_data_keys(
        keyring, kek, progress=None if progress is None else lambda keys: progress("rewrap", keys)
    )
    if moved.failed:
        first = moved.failed[0]
        msg = (
            f"{len(moved.failed)} keys could not be wrapped again, the first one of namespace {first.record.namespace_id}: "
            f"{first.error}"
        )
        raise UnsupportedOperation(msg)


async def _retire(
    keyring: Keyring,
    provider: KmsProvider,
    kek: KekRef,
    versions: Sequence[str],
    retired: list[str],
    *,
    is_kept: bool = False,
) -> str:
    """Retire those of some versions that wrap nothing, in this order. Return why one is left; "" if none is.

    Versions that are retired and kept are deleted. If the KMS does not allow it, the event is recorded as failed, and the error is
    `AccessDenied`.
    """
    for version in versions:
        used = await keyring.store.list_kek_usage()
        if unknown := sorted({usage.provider for usage in used} - keyring.providers.keys()):
            return (
                f"the registry names providers that this configuration lacks ({', '.join(unknown)}), and their keys may depend on "
                "the versions; run the command where all providers are configured"
            )
        depending = depending_on(keyring, used, [kek], version)
        if depending:
            return f"version {version} wraps {sum(usage.keys for usage in depending)} keys; run the command again"
        event = KeyEvent("kek.retire", provider=kek.provider, kek_id=kek.key_id, kek_version=version)
        async with recording_change(keyring.key_events, event):
            try:
                await provider.retire_version(kek, version)
            except (KeyNotFound, KeyDestroyed, KeyDisabled):  # another process retired it
                continue
            if is_kept and version in (await provider.describe(kek)).kept:
                raise AccessDenied(_KEPT.format(version=version, kek=kek))
        retired.append(version)
    return ""


def _reason(error: StrongroomError) -> str:
    return f"{type(error).__name__}: {error}"
