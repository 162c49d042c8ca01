"""Move wrapped roots to another version of their KEK, or to another KEK: registry rows change, rows of data do not.

Each new form is unwrapped and held against the registry's commitment before it takes the place of the old one: keys that can't be had
are the worst that can happen. What is left to do stands in the registry, so a run that broke off is run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms.errors import IntegrityError, KmsError, StrongroomError
from strongroom.kms.key_events import KeyEvent, recording_change
from strongroom.kms.provider import KekRef, Wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.keys.registry import DataKeyRecord
    from strongroom.kms.secret import Secret

PAGE = 200
"""Keys that are wrapped, checked and stored at a time."""
CONCURRENCY = 16
"""Calls of the KMS at a time."""

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of keys done so far, failed ones included."""


@dataclass(frozen=True, slots=True)
class NotRewrapped:
    """A key that stays as it was, and why."""

    record: DataKeyRecord
    error: StrongroomError


@dataclass(frozen=True, slots=True)
class Rewrap:
    """What a run did.

    Attributes:
        kek: that wraps now.
        kek_version: of it.
        rewrapped: keys that were moved.
        changed: keys that others moved or destroyed meanwhile.
        failed: keys that stay as they were.
    """

    kek: KekRef
    kek_version: str
    rewrapped: int
    changed: int
    failed: tuple[NotRewrapped, ...]


async def count_to_rewrap(
    keyring: Keyring, kek: KekRef, *, to: KekRef | None = None, namespace_id: UUID | None = None
) -> int:
    """Return how many keys `rewrap_data_keys` would move.

    Raises:
        KmsError: the KEK to move to can't be used.
    """
    target, version = await _target(keyring, kek, to)
    return await keyring.store.count_wrapped(
        kek, except_version=_except(kek, target, version), namespace_id=namespace_id
    )


async def rewrap_data_keys(
    keyring: Keyring,
    kek: KekRef,
    *,
    to: KekRef | None = None,
    namespace_id: UUID | None = None,
    progress: Progress | None = None,
) -> Rewrap:
    """Move every key that a KEK wraps to its primary version, or to another KEK.

    Args:
        keyring: of this process. Others need not hear of it, as the roots stay the same.
        kek: that wraps now.
        to: another KEK, of any provider; None for the newest version of the same.
        namespace_id: whose keys; None for all.
        progress: see there.

    Raises:
        KmsError: the KEK to move to can't be used, or some KMS does not answer; what was moved stays moved.
    """
    target, version = await _target(keyring, kek, to)
    rewrapped = changed = done = 0
    failed: list[NotRewrapped] = []
    last: DataKeyRecord | None = None
    event = KeyEvent(
        "kek.rewrap",
        provider=target.provider,
        kek_id=target.key_id,
        kek_version=version,
        namespace_id=namespace_id,
        note=f"from {kek}",
    )
    async with recording_change(keyring.key_events, event):
        while page := await keyring.store.list_wrapped(
            kek, except_version=_except(kek, target, version), namespace_id=namespace_id, after=last, limit=PAGE
        ):
            last = page[-1]
            moved, refused = await _move(keyring, page, target)
            stored = await keyring.store.rewrap_data_keys(moved)
            rewrapped += stored
            changed += len(moved) - stored
            failed += refused
            done += len(page)
            if progress is not None:
                progress(done)
    return Rewrap(target, version, rewrapped, changed, tuple(failed))


async def _target(keyring: Keyring, kek: KekRef, to: KekRef | None) -> tuple[KekRef, str]:
    target = to or kek
    info = await keyring.provider_of(target).describe(target)
    return target, info.primary_version


def _except(kek: KekRef, target: KekRef, version: str) -> str | None:
    return version if kek == target else None


async def _move(
    keyring: Keyring, page: Sequence[DataKeyRecord], target: KekRef
) -> tuple[list[tuple[DataKeyRecord, Wrapped]], list[NotRewrapped]]:
    """Wrap each root anew, and check that it comes back."""
    free = asyncio.Semaphore(CONCURRENCY)

    async def moved(record: DataKeyRecord) -> Wrapped | StrongroomError:
        async with free:
            try:
                new = await _wrapped_anew(keyring, record, target)
                keyring.check_kek(new.kek)  # what an alias stood for
            except StrongroomError as error:
                return error
            return new

    made = await asyncio.gather(*map(moved, page))
    pairs = [(record, new) for record, new in zip(page, made, strict=True) if isinstance(new, Wrapped)]
    refused = [
        NotRewrapped(record, new) for record, new in zip(page, made, strict=True) if isinstance(new, StrongroomError)
    ]
    contexts = [keyring.context(record).encryption_context() for record, _ in pairs]
    provider = keyring.provider(target.provider)
    answers: list[Secret | StrongroomError] = []
    items = [(new, context) for (_, new), context in zip(pairs, contexts, strict=True)]
    for start in range(0, len(items), provider.capabilities.batch):
        answers += await provider.unwrap_many(items[start : start + provider.capabilities.batch])
    good = []
    for (record, new), answer in zip(pairs, answers, strict=True):
        root = keyring.checked(record, answer)
        if isinstance(root, StrongroomError):
            refused.append(NotRewrapped(record, root))
        else:
            good.append((record, new))
    for each in refused:
        if isinstance(each.error, KmsError) and each.error.retryable:
            await keyring.store.rewrap_data_keys(good)
            raise each.error
    return good, refused


async def _wrapped_anew(keyring: Keyring, record: DataKeyRecord, target: KekRef) -> Wrapped:
    if record.wrapped is None:
        raise IntegrityError
    old = Wrapped(KekRef(record.provider, record.kek_id), record.kek_version, record.wrapped)
    context = keyring.context(record).encryption_context()
    source = keyring.provider_of(old.kek)
    if record.provider == target.provider:
        return await source.rewrap(old, target, context=context)
    root = keyring.checked(record, await source.unwrap(old, context=context))
    if isinstance(root, StrongroomError):
        raise root
    return await keyring.provider(target.provider).wrap(target, root, context=context)
