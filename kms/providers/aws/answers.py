"""Read fields from the answers of AWS KMS, and check them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from strongroom.kms.errors import IntegrityError, KmsUnavailable
from strongroom.kms.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.kms.provider import Wrapped

ONLY_VERSION = "1"
"""The version of a key for which AWS returns no key material id, for example in a custom key store. Such keys do not rotate."""

_ROOT_BYTES = 32
_FIRST = datetime.min.replace(tzinfo=UTC)
_STATES: dict[str, Literal["enabled", "pending_deletion"]] = {
    "Enabled": "enabled",
    "Updating": "enabled",
    "PendingDeletion": "pending_deletion",
    "PendingReplicaDeletion": "pending_deletion",
}


def field(answer: Mapping[str, Any], name: str) -> Any:
    """Return a field that every answer of AWS KMS has.

    Raises:
        KmsUnavailable: The field is missing, so the answer is not from AWS KMS.
    """
    try:
        return answer[name]
    except (KeyError, TypeError):
        raise KmsUnavailable(f"the server answered without {name}; check that the endpoint is AWS KMS") from None


def material(answer: Mapping[str, Any], name: str = "KeyMaterialId") -> str:
    """Return a KEK's version, which is AWS's id of the key material. Each rotation changes it."""
    return str(answer.get(name) or ONLY_VERSION)


def check_version(wrapped: Wrapped, used: str) -> None:
    """Raise an error if a root was unwrapped by another version than the wrapped key names.

    Raises:
        IntegrityError: The versions differ.
    """
    if ONLY_VERSION not in (used, wrapped.kek_version) and used != wrapped.kek_version:
        raise IntegrityError


def root(answer: Mapping[str, Any]) -> Secret:
    """Return the root key of an answer.

    Raises:
        IntegrityError: The plaintext does not have 32 bytes, so it is no root key.
    """
    plaintext: bytes = field(answer, "Plaintext")
    if len(plaintext) != _ROOT_BYTES:
        raise IntegrityError
    return Secret(plaintext)


def state(metadata: Mapping[str, Any]) -> Literal["enabled", "disabled", "pending_deletion"]:
    """Return a key's state. The states PendingImport, Unavailable and Creating are `disabled` too."""
    return _STATES.get(field(metadata, "KeyState"), "disabled")


def deletion_at(metadata: Mapping[str, Any]) -> datetime | None:
    """Return the time of a key's deletion. A primary key that waits for its replicas has none yet."""
    given: datetime | None = metadata.get("DeletionDate")
    return None if given is None else given.astimezone(UTC)


def versions(rotations: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the ids of the key materials that unwrap, the oldest first.

    Imported material that waits for its rotation, was deleted or has expired is left out.
    """
    usable = [
        (rotation.get("RotationDate", _FIRST), material(rotation))  # the first material has no date
        for rotation in rotations
        if rotation.get("KeyMaterialState") in ("CURRENT", "NON_CURRENT")
        and rotation.get("ImportState", "IMPORTED") == "IMPORTED"
    ]
    return tuple(version for _, version in sorted(usable))
