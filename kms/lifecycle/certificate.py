"""Erasure certificates: signed statements of what shredding a namespace destroyed (FORMAT.md section 11).

A certificate can be verified without the database. It has ids, counts, times and commitments, and no name or value of a
tenant.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

from strongroom.kms.errors import InvalidCertificate, InvalidRequest
from strongroom.kms.keys.registry import DataKeyRecord, KeyClass, KeyState
from strongroom.kms.keys.signing import is_signed
from strongroom.kms.provider import KekRef
from strongroom.kms.sealing.header import Suite

from .kek_deletion import DISPOSALS, KekDisposal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms.keys.signing import SigningKey

    T = TypeVar("T")

CERTIFICATE_FORMAT = "strongroom-erasure-certificate/1"
MAX_CERTIFICATE_BYTES = 16 * 2**20
_MAX_INTEGER = 2**53  # JSON readers of other languages round larger integers
_COMMITMENT_BYTES = 32


@dataclass(frozen=True, slots=True)
class ErasureCertificate:
    """What was destroyed, when, and what is not covered. Times are UTC.

    Attributes:
        cell_id: The cell.
        namespace_id: The shredded namespace. Its name is not in the certificate.
        requested_at: The time at which its keys were disabled and processes were notified.
        confirmed_at: The time at which its roots were destroyed.
        completed_at: The time of the last step.
        eviction_seconds: The seconds after `requested_at` until no process has a key of the namespace.
        keys: The tombstones of all keys that the namespace ever had.
        keks: The KEKs that wrapped them, and their fate.
        rows_deleted: The number of deleted rows by table. Tables without rows are left out.
        documents_deleted: The number of deleted documents in the search index, or None if there is no index.
        covers: Sentences on what no longer opens or exists.
        does_not_cover: Sentences on where traces may be left.
        public_key: The public key of the cell's signing key, 32 bytes.
    """

    cell_id: UUID
    namespace_id: UUID
    requested_at: datetime
    confirmed_at: datetime
    completed_at: datetime
    eviction_seconds: int
    keys: tuple[DataKeyRecord, ...]
    keks: tuple[KekDisposal, ...]
    rows_deleted: Mapping[str, int]
    documents_deleted: int | None
    public_key: bytes
    covers: tuple[str, ...] = ()
    does_not_cover: tuple[str, ...] = ()


def sign_certificate(certificate: ErasureCertificate, key: SigningKey) -> bytes:
    """Return the signed bytes of a certificate.

    Raises:
        InvalidRequest: Its public key is not that of the signing key, or the format does not allow a value.
    """
    document = _document(certificate)
    signed = _canonical(document | {"signature": key.sign(_canonical(document)).hex()})
    try:
        verify_certificate(signed, public_key=key.public_key)  # a certificate that can't be verified is never issued
    except InvalidCertificate as error:
        msg = f"this certificate can't be issued: {error}"
        raise InvalidRequest(msg) from None
    return signed


def verify_certificate(data: bytes, *, public_key: bytes | None = None) -> ErasureCertificate:
    """Return the contents of a certificate after verifying it. This needs no configuration and no database.

    Args:
        data: All bytes of the file.
        public_key: The key that must have signed it. None uses the key in the certificate, which proves that the file was not
            altered, but not who signed it.

    Raises:
        InvalidCertificate: The file is not byte for byte what a cell signed.
    """
    try:
        document = _parsed(data)
        signature = bytes.fromhex(document.pop("signature"))
        certificate = _certificate(document)
        # This refuses everything that a JSON reader accepts silently: another spelling, an additional member, a duplicate member.
        exact = _canonical(_document(certificate) | {"signature": signature.hex()}) == data
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError):
        msg = f"this is not a certificate of the format {CERTIFICATE_FORMAT}"
        raise InvalidCertificate(msg) from None
    if not exact:
        msg = "the certificate is not in its canonical form, so it was altered"
        raise InvalidCertificate(msg)
    if public_key is not None and certificate.public_key != public_key:
        msg = "the certificate is signed by another key than the given one"
        raise InvalidCertificate(msg)
    if not is_signed(_canonical(document), signature, public_key=certificate.public_key):
        msg = "the signature is not valid for the certificate, so one of them was altered"
        raise InvalidCertificate(msg)
    return certificate


def _canonical(document: Mapping[str, Any]) -> bytes:
    """Return the canonical JSON (RFC 8785) of a document of objects, lists, text, integers and null."""
    return json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_CERTIFICATE_BYTES:
        raise ValueError
    document = json.loads(data.decode(), parse_float=_refuse, parse_constant=_refuse)
    if not isinstance(document, dict) or document["format"] != CERTIFICATE_FORMAT:
        raise ValueError
    return document


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _document(certificate: ErasureCertificate) -> dict[str, Any]:
    return {
        "format": CERTIFICATE_FORMAT,
        "cell_id": str(certificate.cell_id),
        "namespace_id": str(certificate.namespace_id),
        "requested_at": _time(certificate.requested_at),
        "confirmed_at": _time(certificate.confirmed_at),
        "completed_at": _time(certificate.completed_at),
        "eviction": {
            "announced_at": _time(certificate.requested_at),
            "bound_seconds": certificate.eviction_seconds,
        },
        "keys": [
            {
                "class": key.key_class.value,
                "version": key.version,
                "suite": key.suite.value,
                "provider": key.provider,
                "kek_id": key.kek_id,
                "kek_version": key.kek_version,
                "commitment": key.commitment.hex(),
                "created_at": _time(key.created_at),
                "destroyed_at": _time(key.destroyed_at),
            }
            for key in certificate.keys
        ],
        "keks": [
            {
                "provider": kek.kek.provider,
                "kek_id": kek.kek.key_id,
                "disposal": kek.disposal,
                "state": kek.state,
                "deletion_at": _time(kek.deletion_at) if kek.deletion_at is not None else None,
                "request_id": kek.request_id,
                "error": kek.error,
            }
            for kek in certificate.keks
        ],
        "rows_deleted": dict(certificate.rows_deleted),
        "documents_deleted": certificate.documents_deleted,
        "covers": list(certificate.covers),
        "does_not_cover": list(certificate.does_not_cover),
        "public_key": certificate.public_key.hex(),
    }


def _certificate(document: Mapping[str, Any]) -> ErasureCertificate:
    """Undo `_document`. Spellings are not checked here, because the caller compares the encoded result with its input."""
    namespace_id, documents = UUID(document["namespace_id"]), document["documents_deleted"]
    return ErasureCertificate(
        cell_id=UUID(document["cell_id"]),
        namespace_id=namespace_id,
        requested_at=_moment(document["requested_at"]),
        confirmed_at=_moment(document["confirmed_at"]),
        completed_at=_moment(document["completed_at"]),
        eviction_seconds=_integer(document["eviction"]["bound_seconds"]),
        keys=tuple(_key(namespace_id, key) for key in document["keys"]),
        keks=tuple(_kek(kek) for kek in document["keks"]),
        rows_deleted={_text(table): _integer(rows) for table, rows in document["rows_deleted"].items()},
        documents_deleted=None if documents is None else _integer(documents),
        covers=tuple(_text(sentence) for sentence in document["covers"]),
        does_not_cover=tuple(_text(sentence) for sentence in document["does_not_cover"]),
        public_key=bytes.fromhex(document["public_key"]),
    )


def _key(namespace_id: UUID, key: Mapping[str, Any]) -> DataKeyRecord:
    commitment = bytes.fromhex(key["commitment"])
    if len(commitment) != _COMMITMENT_BYTES:
        raise ValueError
    return DataKeyRecord(
        namespace_id=namespace_id,
        key_class=KeyClass(key["class"]),
        version=_integer(key["version"]),
        suite=Suite(_integer(key["suite"])),
        state=KeyState.DESTROYED,
        provider=_text(key["provider"]),
        kek_id=_text(key["kek_id"]),
        kek_version=_text(key["kek_version"]),
        wrapped=None,
        commitment=commitment,
        created_at=_moment(key["created_at"]),
        destroyed_at=_moment(key["destroyed_at"]),
    )


def _kek(kek: Mapping[str, Any]) -> KekDisposal:
    if kek["disposal"] not in DISPOSALS:
        raise ValueError
    return KekDisposal(
        KekRef(_text(kek["provider"]), _text(kek["kek_id"])),
        kek["disposal"],
        _optional(kek["state"]),
        None if kek["deletion_at"] is None else _moment(kek["deletion_at"]),
        _optional(kek["request_id"]),
        _optional(kek["error"]),
    )


def _time(moment: datetime | None) -> str:
    if moment is None:
        raise ValueError
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _moment(text: object) -> datetime:
    return datetime.strptime(_text(text), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_INTEGER:
        raise ValueError
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _text(value: object) -> str:
    """Return a text. Texts with control characters are refused, because they could control a terminal."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError
    return value
