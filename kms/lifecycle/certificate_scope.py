"""The sentences that state what an erasure certificate covers and does not cover. They depend on its other fields."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .certificate import ErasureCertificate
    from .kek_deletion import KekDisposal

_ALWAYS = (
    "Backups, snapshots and replicas of the database, and its write-ahead log: sealed rows, and in older copies the wrapped keys.",
    "Deleted rows in the data files until VACUUM has run and their space is overwritten, and blocks that a disk keeps.",
    "Copies of a KEK that its KMS or an operator keeps, for example backups of the KMS or copies of a keyring file.",
    "KEKs that wrapped these keys earlier and that the registry no longer names, because the keys were re-wrapped.",
    "Messages of namespace replication and Nexus endpoints that mention the namespace: they are sealed under the cell's keys.",
    "What is kept on purpose: the ids, times and commitments in this certificate, and the certificate itself.",
    "Logs of the service, of its clients and workers, of the database and of the KMS.",
    "Copies outside Strongroom: exports, and data that clients, workers and people have read.",
)


def with_scope(certificate: ErasureCertificate) -> ErasureCertificate:
    """Return a certificate with its sentences. All other fields must be set."""
    return replace(certificate, covers=tuple(_covers(certificate)), does_not_cover=tuple(_limits(certificate)))


def _covers(certificate: ErasureCertificate) -> Iterator[str]:
    yield f"{len(certificate.keys)} data keys: no wrapped form of them is left in the registry of the cell."
    yield (
        f"{sum(certificate.rows_deleted.values())} rows of the namespace, that is all of them in the tables of the cell's database, "
        "and its sealed name."
    )
    if certificate.documents_deleted is not None:
        yield f"{certificate.documents_deleted} documents of the namespace, which are all its documents in the search index."
    for kek in certificate.keks:
        if kek.disposal == "delete" and kek.state == "destroyed":
            yield f"The KEK {kek.kek} is destroyed: only someone with a copy of it can open earlier backups."
        elif kek.disposal == "delete" and kek.state == "not_found":
            yield f"The KEK {kek.kek} does not exist in its KMS: only someone with a copy of it can open earlier backups."
        elif kek.disposal == "delete" and kek.state == "pending_deletion":
            yield f"The KEK {kek.kek} can't be used, and its KMS deletes it {_when(kek)}."


def _limits(certificate: ErasureCertificate) -> Iterator[str]:
    for kek in certificate.keks:
        opens = "anyone who has an earlier backup of the database and may use the KEK can open it"
        if kek.disposal == "shared":
            yield f"The KEK {kek.kek} wraps other keys too and still exists: {opens}."
        elif kek.disposal == "kept":
            yield f"The KEK {kek.kek} was kept at the operator's request: {opens}."
        elif not kek.is_done:
            yield f"The KEK {kek.kek} could NOT be deleted: {opens}."
        elif kek.state == "pending_deletion":
            yield f"Until the KEK {kek.kek} is deleted ({_when(kek)}), its deletion can be cancelled: then {opens}."
    until = certificate.requested_at + timedelta(seconds=certificate.eviction_seconds)
    yield (
        f"Memory of processes that had the keys: they evict them by {until:%Y-%m-%d %H:%M:%S} UTC, unless one is configured to keep "
        "keys longer than the process that issued this certificate; core dumps and swap may keep them."
    )
    if certificate.completed_at < until:
        yield (
            "Rows and documents that such a process wrote after the deletion: nobody can open them after that time, "
            "and a purge of the namespace deletes them."
        )
    if certificate.documents_deleted is not None:
        yield "Deleted documents in segments of the search index until the segments are merged, and its snapshots."
    else:
        yield "A search index of this cell from an earlier time: none is configured now."
    yield from _ALWAYS


def _when(kek: KekDisposal) -> str:
    return "at a time that it determines" if kek.deletion_at is None else f"on {kek.deletion_at:%Y-%m-%d %H:%M} UTC"
