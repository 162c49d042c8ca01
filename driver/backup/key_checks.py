"""Check each wrapped key of a restored cell, and the details of each namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.driver.doctor.pin import KEYS
from strongroom.driver.doctor.report import Finding, wrong
from strongroom.driver.keyring_files import keyring_files
from strongroom.kms import (
    AccessDenied,
    KekRef,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsAuthenticationError,
    StrongroomError,
    check_wrapped_keys,
    deleted_keks,
    errors_of_copies,
)
from strongroom.storage.errors import few

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import DataKeyRecord, Keyring
    from strongroom.storage import Namespace

NAMESPACES = "Namespaces"
_DAMAGED = (
    "Its KEK is not recorded as deleted, and does not unwrap the key. The KEK or the database is damaged, or of another cell: check "
    "another backup, and use that one if it fits."
)
_FORGOTTEN = (
    "The KMS has no such KEK, and keeps no record of deleted ones. If the namespace was shredded after the database was backed up, "
    "name its erasure certificate: --certificate FILE. Otherwise check that this is the right KMS and account, or restore the KEK."
)
_REFUSED = (
    "The KMS lets nobody use the KEK, or not these credentials. Enable it or grant the right, and run the check again."
)
DELETED = (
    "They were destroyed after the database was backed up, for example by a shredding. A copy of the keyring from the time of the "
    "database has them."
)
_SCHEDULED, _DESTROYED, _DELETED = "KEKs scheduled for deletion", "destroyed KEKs", "deleted KEKs"
_LOSSES = {
    _SCHEDULED: (
        "KEKs that their KMS will delete",
        "These namespaces can't be restored, which is right if they were shredded. Otherwise cancel the deletion in the KMS now.",
    ),
    _DESTROYED: (
        "KEKs that their KMS has destroyed",
        "These namespaces can't be restored, which is right if they were shredded. Otherwise look for a backup of the KMS.",
    ),
    _DELETED: ("KEKs that the keyring records as deleted", DELETED),
}
"""The ways in which a KEK is lost on purpose, in the order in which they are named for a multi KEK, with text and advice."""
_LOST = frozenset(each.__name__ for each in (KeyNotFound, KeyDestroyed, KeyPendingDeletion))
"""The errors of a namespace whose KEK is lost."""
_CLOSED = frozenset(("KeyDisabled", "KeyWithdrawn", "KeyDestroyed"))
"""The errors of a namespace that is scheduled for shredding."""


class KeyCheck:
    """The outcome of unwrapping all keys.

    Attributes:
        keys: The number of keys.
        lost: The namespaces whose KEKs were deleted on purpose, each with the number of keys that no KEK unwraps, by `_LOSSES`.
        failed: The errors of all other keys that did not unwrap, by namespace.
    """

    def __init__(self) -> None:
        self.keys = 0
        self.lost: dict[str, dict[UUID, int]] = {each: {} for each in _LOSSES}
        self.failed: dict[UUID, list[tuple[DataKeyRecord, StrongroomError]]] = {}

    def lose(self, how: str, namespace_id: UUID) -> None:
        """Count a key that no KEK unwraps any more."""
        self.lost[how][namespace_id] = self.lost[how].get(namespace_id, 0) + 1

    def has_lost(self, namespace_id: UUID) -> bool:
        """Return whether a KEK of a namespace was deleted on purpose."""
        return any(namespace_id in each for each in self.lost.values())

    def findings(self, cell_id: UUID) -> Iterator[Finding]:
        """Yield the findings.

        Args:
            cell_id: The id of the cell, whose own keys are registered under it.
        """
        bad = sum(map(len, self.failed.values())) + sum(sum(each.values()) for each in self.lost.values())
        yield Finding(
            KEYS, "wrapped keys", f"{self.keys - bad} of {self.keys} keys unwrap, and match their commitments"
        )
        for how, lost in self.lost.items():
            if lost:
                what, advice = _LOSSES[how]
                text = f"{sum(lost.values())} keys of {len(lost)} namespaces were wrapped by {what}: "
                yield Finding(KEYS, how, text + few(list(map(str, lost))), "note", advice)
        for namespace_id, failed in self.failed.items():
            name = "the cell's own keys" if namespace_id == cell_id else f"namespace {namespace_id}"
            advice = _advice([error for _, error in failed])
            yield Finding(KEYS, name, few([_described(*each) for each in failed]), "wrong", advice)


async def unwrap_all(keyring: Keyring, report: Callable[[str], None], certified: frozenset[KekRef]) -> KeyCheck:
    """Unwrap each key that is not destroyed, and compare it with its commitment. Disabled keys are among them.

    Args:
        keyring: The cell's keyring.
        report: Called with the progress.
        certified: The KEKs that erasure certificates state as deleted.

    Raises:
        StrongroomError: A KMS or the database does not answer now.
    """
    done = KeyCheck()
    deleted = {
        each
        for provider_id, local in keyring_files(keyring.providers).items()
        for each in await deleted_keks(provider_id, local)
    }
    used = await keyring.store.list_kek_usage()
    total = sum(each.keys for each in used)
    async for page in check_wrapped_keys(keyring, used):
        done.keys += len(page)
        report(f"unwrapping keys: {done.keys} of {total}")
        for record, error in page:
            if error is None:
                continue
            is_certified = KekRef(record.provider, record.kek_id) in certified
            copies = await errors_of_copies(keyring, record, error)
            how = _loss_of(copies, deleted, is_certified=is_certified)
            if how is None or record.namespace_id == keyring.cell_id:
                done.failed.setdefault(record.namespace_id, []).append((record, error))
            else:
                done.lose(how, record.namespace_id)
    return done


def _loss_of(
    copies: Sequence[tuple[KekRef, str, StrongroomError]], deleted: set[tuple[KekRef, str]], *, is_certified: bool
) -> str | None:
    """Return how the KEKs of a key were lost on purpose; None if one of them may still exist, or may be damaged."""
    found = set()
    for kek, version, error in copies:
        if isinstance(error, KeyPendingDeletion):
            found.add(_SCHEDULED)
        elif isinstance(error, KeyNotFound) and (kek, version) in deleted:
            found.add(_DELETED)
        # A keyring file records each deletion, so that a KEK that it lacks is no refusal.
        elif isinstance(error, KeyDestroyed) or (isinstance(error, KeyNotFound) and error.is_refusal and is_certified):
            found.add(_DESTROYED)
        else:
            return None
    return next(each for each in _LOSSES if each in found)


def _advice(errors: Sequence[StrongroomError]) -> str:
    """Return what to do about keys that did not unwrap, from the most serious of their errors."""
    if all(isinstance(error, AccessDenied | KeyDisabled | KmsAuthenticationError) for error in errors):
        return _REFUSED
    if all(isinstance(error, KeyNotFound) and error.is_refusal for error in errors):
        return _FORGOTTEN
    return _DAMAGED


async def namespace_details(strongroom: Strongroom, keys: KeyCheck) -> AsyncIterator[Finding]:
    """Open the details of each namespace. It may be closed only if its KEK was deleted on purpose, or if its shredding is scheduled.

    Args:
        strongroom: The cell.
        keys: The outcome of unwrapping the keys.
    """
    try:
        listed = await strongroom.namespaces.list_namespaces()
    except StrongroomError as error:
        yield wrong(NAMESPACES, "details", error)
        return
    kept = [each for each in listed if each.shredded_at is None and not _is_scheduled(each)]
    closed = [each for each in kept if each.unreadable is not None]
    yield Finding(NAMESPACES, "details", f"those of {len(kept) - len(closed)} of {len(kept)} namespaces open")
    if waiting := sum(map(_is_scheduled, listed)):
        yield Finding(NAMESPACES, "scheduled", f"{waiting} are scheduled for shredding, and are not opened")
    for each in closed:
        name, text = f"namespace {each.namespace_id}", f"{each.error}: {each.unreadable}"
        if each.error in _LOST and keys.has_lost(each.namespace_id):
            yield Finding(NAMESPACES, name, text, "note", "It can't be restored from this backup: see its KEK above.")
        else:
            yield Finding(NAMESPACES, name, text, "wrong", "Restore the database from another backup, and compare.")


def _is_scheduled(namespace: Namespace) -> bool:
    """Return whether a namespace is closed because it is scheduled for shredding."""
    return namespace.shredded_at is None and namespace.shred_due_at is not None and namespace.error in _CLOSED


def _described(record: DataKeyRecord, error: StrongroomError) -> str:
    kek = f"{record.provider}:{record.kek_id} version {record.kek_version}"
    return f"{record.key_class.value} key {record.version} under {kek}: {type(error).__name__}: {error}"
