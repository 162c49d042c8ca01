"""Print a shredding request and an erasure certificate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .output import json_wanted, line, result, table

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.driver.shredding import Loss
    from strongroom.kms import ErasureCertificate, KekDisposal
    from strongroom.storage import ShredRequest

_DISPOSALS = {
    "delete": "wraps nothing else in this cell, so it will be deleted. If another cell or program uses it, unshred and use --keep-kek",
    "shared": "wraps other keys too, so it is kept. Its users can still open earlier backups",
    "kept": "is kept, as requested. Its users can still open earlier backups",
}


def request(name: str, found: ShredRequest, loss: Loss, *, seconds: int) -> None:
    """Print a request: the loss, the times and the next command."""
    if json_wanted():
        result(
            {
                "namespace_id": found.namespace_id,
                "requested_at": found.requested_at,
                "due_at": found.due_at,
                "confirmed_at": found.confirmed_at,
                "code": found.code,
                "eviction_seconds": seconds,
                "rows": loss.rows,
                "documents": loss.documents,
                "keks": [{"kek": str(kek.kek), "disposal": kek.disposal} for kek in loss.keks],
            }
        )
        return
    rows = [
        *loss.rows.items(),
        *([] if loss.documents is None else [("documents of the search index", loss.documents)]),
    ]
    table("what will be lost", "rows", rows=rows, title=f"namespace {found.namespace_id}")
    for kek in loss.keks:
        line(f"KEK {kek.kek} {_DISPOSALS[kek.disposal]}")
    if found.confirmed_at is not None:
        line(f"its keys were destroyed at {_utc(found.confirmed_at)}; the shredding is not finished")
    else:
        line(
            f"requested at {_utc(found.requested_at)}. Running processes are notified, and can't read it any more. A process that "
            f"misses the notification drops its keys within {seconds} s. Nothing is lost yet."
        )
        line(f"to undo it: strongroom namespace unshred {name}")
    line(
        f"from {_utc(found.due_at)}, permanently: strongroom namespace shred {name} --final {found.code} --certificate FILE"
    )


def certificate_document(verified: ErasureCertificate) -> dict[str, object]:
    """Return the facts of a certificate as JSON has them."""
    return {
        "cell_id": verified.cell_id,
        "namespace_id": verified.namespace_id,
        "requested_at": verified.requested_at,
        "confirmed_at": verified.confirmed_at,
        "completed_at": verified.completed_at,
        "eviction_seconds": verified.eviction_seconds,
        "rows_deleted": verified.rows_deleted,
        "documents_deleted": verified.documents_deleted,
        "keys": len(verified.keys),
        "keks": [{"kek": str(kek.kek), "disposal": kek.disposal, "error": kek.error} for kek in verified.keks],
        "public_key": verified.public_key.hex(),
    }


def certificate(verified: ErasureCertificate) -> None:
    """Print a certificate."""
    table(
        "",
        "",
        title="erasure certificate",
        rows=[
            ("cell", verified.cell_id),
            ("namespace", verified.namespace_id),
            ("unreadable since", _utc(verified.requested_at)),
            ("in every process after", f"{verified.eviction_seconds} s"),
            ("keys destroyed", _utc(verified.confirmed_at)),
            ("completed", _utc(verified.completed_at)),
            ("rows deleted", ", ".join(f"{rows} {name}" for name, rows in verified.rows_deleted.items()) or "none"),
            (
                "documents deleted",
                "no search index" if verified.documents_deleted is None else verified.documents_deleted,
            ),
            *(("KEK", f"{kek.kek}: {_answer(kek)}") for kek in verified.keks),
        ],
    )
    table(
        "class",
        "version",
        "suite",
        "KEK",
        "KEK version",
        "destroyed (UTC)",
        "commitment",
        rows=(
            (
                key.key_class.value,
                key.version,
                key.suite.name.replace("_", "-"),
                f"{key.provider}:{key.kek_id}",
                key.kek_version,
                "" if key.destroyed_at is None else f"{key.destroyed_at:%Y-%m-%d %H:%M}",
                key.commitment.hex(),
            )
            for key in verified.keys
        ),
    )
    for title, sentences in (("Covers:", verified.covers), ("Does not cover:", verified.does_not_cover)):
        line(title)
        for sentence in sentences:
            line(f"  - {sentence}")


def _answer(kek: KekDisposal) -> str:
    if kek.disposal != "delete":
        return f"not deleted ({kek.disposal})"
    parts = [
        kek.state or "NOT deleted",
        None if kek.deletion_at is None else f"at {_utc(kek.deletion_at)}",
        kek.error,
        None if kek.request_id is None else f"request {kek.request_id}",
    ]
    return ", ".join(part for part in parts if part)


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
