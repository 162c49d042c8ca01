"""What stands in an answer of AWS KMS, checked before it is believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from strongroom.kms.errors import IntegrityError, KmsUnavailable
from strongroom.kms.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.kms.provider import Wrapped

ONLY_VERSION = "1"
"""The version of a key of which AWS names no material: those in custom key stores, which do not rotate."""

_ROOT_BYTES = 32
_FIRST = datetime.min.replace(tzinfo=UTC)
_STATES: dict[str, Literal["enabled", "pending_deletion"]] = {
    "Enabled": "enabled",
    "Updating": "enabled",
    "PendingDeletion": "pending_deletion",
    "PendingReplicaDeletion": "pending_deletion",
}


def field(answer: Mapping[str, Any], name: str) -> Any:
    """Return a field that AWS always gives.

    Raises:
        KmsUnavailable: it is not there, so something else than AWS KMS answered.
    """
    try:
        return answer[name]
    except (KeyError, TypeError):
        raise KmsUnavailable(f"something answered as AWS KMS does, but without {name}") from None


def material(answer: Mapping[str, Any], name: str = "KeyMaterialId") -> str:
    """Return a KEK's version: AWS's id of the key material, which is another one after each rotation."""
    return str(answer.get(name) or ONLY_VERSION)


def check_version(wrapped: Wrapped, used: str) -> None:
    """Refuse what was opened by another version than it names.

    Raises:
        IntegrityError: so it was.
    """
    if ONLY_VERSION not in (used, wrapped.kek_version) and used != wrapped.kek_version:
        raise IntegrityError


def root(answer: Mapping[str, Any]) -> Secret:
    """Return the root key of an answer.

    Raises:
        IntegrityError: not 32 bytes, so what was unwrapped is no root.
    """
    plaintext: bytes = field(answer, "Plaintext")
    if len(plaintext) != _ROOT_BYTES:
        raise IntegrityError
    return Secret(plaintext)


def state(metadata: Mapping[str, Any]) -> Literal["enabled", "disabled", "pending_deletion"]:
    """Return a key's state; one that can't be used now is `disabled`, be it PendingImport, Unavailable or Creating."""
    return _STATES.get(field(metadata, "KeyState"), "disabled")


def deletion_at(metadata: Mapping[str, Any]) -> datetime | None:
    """Return when a key is deleted; a primary key that waits for its replicas has no date yet."""
    given: datetime | None = metadata.get("DeletionDate")
    return None if given is None else given.astimezone(UTC)


def versions(rotations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the key materials that unwrap, the oldest first.

    Left out is imported material that waits for its rotation, or that was deleted or has expired.
    """
    usable = [
        (rotation.get("RotationDate", _FIRST), material(rotation))  # the first material has no date
        for rotation in rotations
        if rotation.get("KeyMaterialState") in ("CURRENT", "NON_CURRENT")
        and rotation.get("ImportState", "IMPORTED") == "IMPORTED"
    ]
    return tuple(version for _, version in sorted(usable))
