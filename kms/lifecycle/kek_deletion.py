"""Delete the KEK of a shredded namespace, and keep the KMS's answer for the erasure certificate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from strongroom.kms.errors import KeyDestroyed, KeyNotFound, KeyPendingDeletion, KmsError, StrongroomError

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.kms.keyring.keyring import Keyring
    from strongroom.kms.provider import KekInfo, KekRef, KmsProvider

    Disposal: TypeAlias = Literal["delete", "shared", "kept"]

DISPOSALS = ("delete", "shared", "kept")
GONE = ("destroyed", "pending_deletion", "not_found")
"""States in which the KMS needs no further request."""


@dataclass(frozen=True, slots=True)
class KekDisposal:
    """The fate of a KEK that wrapped keys of a shredded namespace.

    Attributes:
        kek: the KEK.
        disposal: `delete` if the KEK wraps nothing else in the cell; `shared` if it does; `kept` if the operator asked to keep it.
            Only a KEK with `delete` is deleted in the KMS.
        state: state of the KEK in the KMS, or `not_found` if the KMS has no such KEK; None before the KMS answered.
        deletion_at: time of a scheduled deletion.
        request_id: id of the call in the KMS's own log.
        error: class and text of the error that prevented the deletion; None after a success.
    """

    kek: KekRef
    disposal: Disposal
    state: str | None = None
    deletion_at: datetime | None = None
    request_id: str | None = None
    error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether no further call to the KMS is needed."""
        return self.disposal != "delete" or self.state in GONE


async def dispose_of_kek(keyring: Keyring, kek: KekRef) -> KekDisposal:
    """Delete a KEK, or schedule its deletion in a KMS with a waiting period.

    A refusal by the KMS is returned, not raised. The call may be repeated: if the KEK is already deleted or scheduled
    for deletion, its present state is returned.

    Args:
        keyring: the cell's keyring, which has the providers.
        kek: the KEK to delete.

    Returns:
        The KMS's answer.
    """
    provider = keyring.providers.get(kek.provider)
    if provider is None:
        return KekDisposal(kek, "delete", error=f"KeyNotFound: no KMS provider {kek.provider!r} is configured")
    try:
        info = await _delete(provider, kek)
    except KeyNotFound as error:
        return KekDisposal(kek, "delete", state="not_found", request_id=_printable(error.request_id))
    except StrongroomError as error:
        request_id = _printable(error.request_id) if isinstance(error, KmsError) else None
        return KekDisposal(kek, "delete", request_id=request_id, error=_printable(f"{type(error).__name__}: {error}"))
    refusal = None if info.state in GONE else f"the KMS accepted the deletion, but the KEK is {info.state}"
    return KekDisposal(kek, "delete", info.state, info.deletion_at, _printable(info.request_id), refusal)


async def _delete(provider: KmsProvider, kek: KekRef) -> KekInfo:
    try:
        return await provider.delete_kek(kek)
    except (KeyPendingDeletion, KeyDestroyed):
        return await provider.describe(kek)


def _printable(text: str | None) -> str | None:
    """Return a text from a KMS with each unprintable character replaced by a space, because a certificate holds none."""
    return text and "".join(character if character.isprintable() else " " for character in text)
