"""What an erasure certificate covers and what it does not, in sentences that follow from its facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .certificate import ErasureCertificate
    from .kek_deletion import KekDisposal

_ALWAYS = (
    "Backups, snapshots and replicas of the database, and its write-ahead log: sealed rows, and of older ones the wrapped keys.",
    "Deleted rows in the data files until VACUUM has run and their space was written over, and blocks that a disk keeps.",
    "Copies of a KEK that its KMS or an operator keeps: backups of the KMS, copies of a keyring file.",
    "KEKs that wrapped these keys earlier and that the registry no longer names, since the keys were wrapped anew.",
    "Messages of namespace replication and Nexus endpoints that tell of the namespace: they are sealed under the cell's keys.",
    "What stays on purpose: the ids, times and commitments that this certificate repeats, and the certificate itself.",
    "Logs of the service, of its clients and workers, of the database and of the KMS.",
    "Copies outside Strongroom: exports, and what clients, workers and people have read.",
)


def with_scope(certificate: ErasureCertificate) -> ErasureCertificate:
    """Add the sentences to a certificate that has everything else."""
    return replace(certificate, covers=tuple(_covers(certificate)), does_not_cover=tuple(_limits(certificate)))


def _covers(certificate: ErasureCertificate) -> Iterator[str]:
    yield f"{len(certificate.keys)} data keys: no wrapped form of them is left in the registry of the cell."
    yield (
        f"{sum(certificate.rows_deleted.values())} rows of the namespace, all that were in the tables of the cell's database, "
        "and its sealed name."
    )
    if certificate.documents_deleted is not None:
        yield f"{certificate.documents_deleted} documents of the namespace, all that were in the search index."
    for kek in certificate.keks:
        if kek.disposal == "delete" and kek.state == "destroyed":
            yield f"The KEK {kek.kek} is destroyed: backups that were made before open for nobody who has no copy of it."
        elif kek.disposal == "delete" and kek.state == "not_found":
            yield f"Its KMS knows no KEK {kek.kek} (any more): backups that were made before open for nobody who has no copy of it."
        elif kek.disposal == "delete" and kek.state == "pending_deletion":
            yield f"The KEK {kek.kek} can't be used, and is deleted by its KMS {_when(kek)}."


def _limits(certificate: ErasureCertificate) -> Iterator[str]:
    for kek in certificate.keks:
        opens = "whoever holds a backup of the database that was made before, and may use the KEK, can open it"
        if kek.disposal == "shared":
            yield f"The KEK {kek.kek} wraps other keys too and still exists: {opens}."
        elif kek.disposal == "kept":
            yield f"The KEK {kek.kek} was kept, as the operator asked: {opens}."
        elif not kek.is_done:
            yield f"The KEK {kek.kek} could NOT be deleted: {opens}."
        elif kek.state == "pending_deletion":
            yield f"Until the KEK {kek.kek} is deleted ({_when(kek)}) that can be taken back: then {opens}."
    until = certificate.requested_at + timedelta(seconds=certificate.eviction_seconds)
    yield (
        f"Memory of processes that had the keys: they forget them by {until:%Y-%m-%d %H:%M:%S} UTC, if none is configured to keep "
        "keys for longer than the one that issued this; core dumps and swap may keep them."
    )
    if certificate.completed_at < until:
        yield (
            "Rows and documents that such a process wrote after they were deleted here: nobody can open them after that time, "
            "and a purge of the namespace deletes them."
        )
    if certificate.documents_deleted is not None:
        yield "Deleted documents in segments of the search index until they are merged, and its snapshots."
    else:
        yield "A search index that this cell had earlier: none is configured now."
    yield from _ALWAYS


def _when(kek: KekDisposal) -> str:
    return "at a time of its own" if kek.deletion_at is None else f"on {kek.deletion_at:%Y-%m-%d %H:%M} UTC"
