"""Check each wrapped key of a restored cell, and the details of each namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.driver.doctor.pin import KEYS
from strongroom.driver.doctor.report import Finding, wrong
from strongroom.driver.keyring_files import keyring_files
from strongroom.kms import KeyNotFound, StrongroomError, check_wrapped_keys, deleted_keks, wrapped_by
from strongroom.storage.errors import few

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from uuid import UUID

    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import DataKeyRecord
    from strongroom.storage import Namespace

NAMESPACES = "Namespaces"
_DAMAGED = (
    "Its KEK is not recorded as deleted, and does not unwrap the key. The KEK or the database is damaged, or of another cell: check "
    "another backup, and use that one if it fits."
)
DELETED = (
    "They were destroyed after the database was backed up, for example by a shredding. A copy of the keyring from the time of the "
    "database has them."
)
_CLOSED = frozenset(("KeyDisabled", "KeyWithdrawn", "KeyDestroyed"))
"""The errors of a namespace that is scheduled for shredding."""


class KeyCheck:
    """The outcome of unwrapping all keys.

    Attributes:
        keys: The number of keys.
        deleted: The namespaces with a key whose KEK was deleted from the keyring on purpose, each with the number of such keys.
        failed: The errors of all other keys that did not unwrap, by namespace.
    """

    def __init__(self) -> None:
        self.keys = 0
        self.deleted: dict[UUID, int] = {}
        self.failed: dict[UUID, list[tuple[DataKeyRecord, StrongroomError]]] = {}

    def findings(self, cell_id: UUID) -> Iterator[Finding]:
        """Yield the findings.

        Args:
            cell_id: The id of the cell, whose own keys are registered under it.
        """
        lost = sum(self.deleted.values())
        bad = sum(map(len, self.failed.values()))
        yield Finding(
            KEYS, "wrapped keys", f"{self.keys - lost - bad} of {self.keys} keys unwrap, and match their commitments"
        )
        if self.deleted:
            text = f"{lost} keys of {len(self.deleted)} namespaces were wrapped by KEKs that the keyring records as deleted: "
            yield Finding(KEYS, "deleted KEKs", text + few(list(map(str, self.deleted))), "note", DELETED)
        for namespace_id, failed in self.failed.items():
            name = "the cell's own keys" if namespace_id == cell_id else f"namespace {namespace_id}"
            yield Finding(KEYS, name, few([_described(*each) for each in failed]), "wrong", _DAMAGED)


async def unwrap_all(strongroom: Strongroom, report: Callable[[str], None]) -> KeyCheck:
    """Unwrap each key that is not destroyed, and compare it with its commitment. Disabled keys are among them.

    Args:
        strongroom: The cell.
        report: Called with the progress.

    Raises:
        StrongroomError: A KMS or the database does not answer now.
    """
    keyring, done = strongroom.keyring, KeyCheck()
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
            if isinstance(error, KeyNotFound) and deleted.issuperset(wrapped_by(keyring, record)):
                done.deleted[record.namespace_id] = done.deleted.get(record.namespace_id, 0) + 1
            else:
                done.failed.setdefault(record.namespace_id, []).append((record, error))
    return done


async def namespace_details(strongroom: Strongroom, keys: KeyCheck) -> AsyncIterator[Finding]:
    """Open the details of each namespace. Only a namespace whose KEK was deleted, or that is scheduled for shredding, may be closed.

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
        if each.error == KeyNotFound.__name__ and each.namespace_id in keys.deleted:
            yield Finding(NAMESPACES, name, text, "note", "See its KEK above.")
        else:
            yield Finding(NAMESPACES, name, text, "wrong", "Restore the database from another backup, and compare.")


def _is_scheduled(namespace: Namespace) -> bool:
    """Return whether a namespace is closed because it is scheduled for shredding."""
    return namespace.shredded_at is None and namespace.shred_due_at is not None and namespace.error in _CLOSED


def _described(record: DataKeyRecord, error: StrongroomError) -> str:
    kek = f"{record.provider}:{record.kek_id} version {record.kek_version}"
    return f"{record.key_class.value} key {record.version} under {kek}: {type(error).__name__}: {error}"
