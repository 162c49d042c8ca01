"""Re-wrap roots under another version of their KEK, or under another KEK. Rows of the registry change, rows of data don't.

Each new wrapped form is unwrapped and compared with the registry's commitment before it replaces the old one, because a
root that can't be unwrapped is lost. The registry shows which keys are left, so an interrupted run can be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms.commits import commits_several_times
from strongroom.kms.errors import IntegrityError, KmsError, StrongroomError
from strongroom.kms.key_events import KeyEvent, recording_change
from strongroom.kms.provider import KekRef, Wrapped, unwrap_in_batches

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.keys.registry import DataKeyRecord

PAGE = 200
"""Number of keys that are wrapped, checked and stored at a time."""
CONCURRENCY = 16
"""Number of concurrent KMS calls."""

Progress: TypeAlias = Callable[[int], None]
"""Called with the number of processed keys, including failed ones."""


@dataclass(frozen=True, slots=True)
class NotRewrapped:
    """A key that was not re-wrapped, and the reason."""

    record: DataKeyRecord
    error: StrongroomError


@dataclass(frozen=True, slots=True)
class Rewrap:
    """The result of a run.

    Attributes:
        kek: The KEK that wraps the keys now.
        kek_version: The version of that KEK.
        rewrapped: The number of re-wrapped keys.
        changed: The number of keys that other processes re-wrapped or destroyed during the run.
        failed: The keys that were not re-wrapped.
    """

    kek: KekRef
    kek_version: str
    rewrapped: int
    changed: int
    failed: tuple[NotRewrapped, ...]


async def count_to_rewrap(
    keyring: Keyring, kek: KekRef, *, to: KekRef | None = None, namespace_id: UUID | None = None
) -> int:
    """Return the number of keys that `rewrap_data_keys` would re-wrap. The arguments are the same.

    Raises:
        KmsError: The target KEK can't be used.
    """
    target, version = await _target(keyring, kek, to)
    return await keyring.store.count_wrapped(
        kek, except_version=_except(kek, target, version), namespace_id=namespace_id
    )


@commits_several_times
async def rewrap_data_keys(
    keyring: Keyring,
    kek: KekRef,
    *,
    to: KekRef | None = None,
    namespace_id: UUID | None = None,
    progress: Progress | None = None,
) -> Rewrap:
    """Re-wrap every key that a KEK wraps under its primary version, or under another KEK.

    Other processes need no notification, because the roots stay the same.

    Args:
        keyring: The cell's keyring.
        kek: The KEK that wraps the keys now.
        to: The target KEK, of any provider. None means the primary version of the same KEK.
        namespace_id: The namespace, or None for all.
        progress: Called with the number of processed keys after each page.

    Raises:
        KmsError: The target KEK can't be used, or a KMS does not answer. Keys that were already re-wrapped stay so.
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
    """Wrap each root again, and check that the new form unwraps to it."""
    free = asyncio.Semaphore(CONCURRENCY)

    async def rewrapped(record: DataKeyRecord) -> Wrapped | StrongroomError:
        async with free:
            try:
                new = await _wrap_again(keyring, record, target)
                keyring.check_kek(new.kek)  # an alias may name a KEK in another region
            except StrongroomError as error:
                return error
            return new

    made = await asyncio.gather(*map(rewrapped, page))
    pairs = [(record, new) for record, new in zip(page, made, strict=True) if isinstance(new, Wrapped)]
    refused = [
        NotRewrapped(record, new) for record, new in zip(page, made, strict=True) if isinstance(new, StrongroomError)
    ]
    contexts = [keyring.context(record).encryption_context() for record, _ in pairs]
    provider = keyring.provider(target.provider)
    items = [(new, context) for (_, new), context in zip(pairs, contexts, strict=True)]
    answers = await unwrap_in_batches(provider, items)
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


async def _wrap_again(keyring: Keyring, record: DataKeyRecord, target: KekRef) -> Wrapped:
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
