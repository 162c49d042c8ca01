"""Unwrap each key of a cell in any state, and compare it with its commitment. Nothing is changed, and no root is returned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms.errors import IntegrityError, KmsError, StrongroomError
from strongroom.kms.provider import KekRef, Wrapped, unwrap_in_batches
from strongroom.kms.providers.multi.multi import MultiProvider
from strongroom.kms.providers.multi.wrapped_format import read_copies

from .rewrap import PAGE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.keys.registry import DataKeyRecord, KekUsage


async def check_wrapped_keys(
    keyring: Keyring, used: Iterable[KekUsage]
) -> AsyncIterator[Sequence[tuple[DataKeyRecord, StrongroomError | None]]]:
    """Yield the keys that KEKs wrap, page by page, each with the error of unwrapping it or None. Destroyed keys are left out.

    Args:
        keyring: The cell's keyring.
        used: The usage of the KEKs, from `DataKeyStore.list_kek_usage`.

    Raises:
        KmsError: A KMS does not answer now. An outage never looks like a key that does not unwrap.
    """
    for kek in dict.fromkeys(KekRef(usage.provider, usage.kek_id) for usage in used):
        last: DataKeyRecord | None = None
        while page := await keyring.store.list_wrapped(
            kek, except_version=None, namespace_id=None, after=last, limit=PAGE
        ):
            last = page[-1]
            yield list(zip(page, await _errors(keyring, kek, page), strict=True))


async def errors_of_copies(
    keyring: Keyring, record: DataKeyRecord, error: StrongroomError
) -> Sequence[tuple[KekRef, str, StrongroomError]]:
    """Return each KEK that alone would unwrap a key, with its version, and the error of its copy of the root.

    A key under a multi KEK has a copy for each child. Its own error is that of one child, so each child is asked again.

    Args:
        keyring: The cell's keyring.
        record: The key.
        error: The error of unwrapping it.

    Raises:
        KmsError: A KMS does not answer now.
    """
    kek = KekRef(record.provider, record.kek_id)
    if not isinstance(keyring.providers.get(kek.provider), MultiProvider):
        return [(kek, record.kek_version, error)]
    try:
        copies = read_copies(Wrapped(kek, record.kek_version, record.wrapped or b"")).of
    except StrongroomError as damaged:
        return [(kek, record.kek_version, damaged)]
    return [(copy.kek, copy.kek_version, await _error_of(keyring, record, copy)) for copy in copies]


async def _error_of(keyring: Keyring, record: DataKeyRecord, copy: Wrapped) -> StrongroomError:
    try:
        await keyring.provider_of(copy.kek).unwrap(copy, context=keyring.context(record).encryption_context())
    except StrongroomError as error:
        if isinstance(error, KmsError) and error.retryable:
            raise
        return error
    return IntegrityError()  # The copy unwraps, so its root is another one than the key's.


async def _errors(keyring: Keyring, kek: KekRef, records: Sequence[DataKeyRecord]) -> Sequence[StrongroomError | None]:
    try:
        provider = keyring.provider_of(kek)
    except StrongroomError as error:
        return [error] * len(records)
    items = [
        (Wrapped(kek, record.kek_version, record.wrapped or b""), keyring.context(record).encryption_context())
        for record in records
    ]
    answers = await unwrap_in_batches(provider, items)
    found = []
    for record, answer in zip(records, answers, strict=True):
        root = keyring.checked(record, answer)
        found.append(root if isinstance(root, StrongroomError) else None)
        if isinstance(root, KmsError) and root.retryable:
            raise root
    return found
