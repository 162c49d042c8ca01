"""The KMS's part of shredding a namespace: delete its own KEK, and remember what the KMS said."""

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
"""States of a KEK with which nothing is left to ask of the KMS."""


@dataclass(frozen=True, slots=True)
class KekDisposal:
    """What becomes of a KEK that wrapped keys of a shredded namespace.

    Attributes:
        kek: which.
        disposal: `delete` where it wraps nothing else of the cell; `shared` where it does, and `kept` where the operator asked for
            that: then it stays, and the KMS is not asked.
        state: what the KMS says of it, or `not_found` where it knows no such KEK (any more); None before it answered.
        deletion_at: when a scheduled deletion happens.
        request_id: by which the KMS's own log knows the answer.
        error: why it could not be deleted: the error's type and its text. None once it was.
    """

    kek: KekRef
    disposal: Disposal
    state: str | None = None
    deletion_at: datetime | None = None
    request_id: str | None = None
    error: str | None = None

    @property
    def is_done(self) -> bool:
        """Whether the KMS need not be asked (again)."""
        return self.disposal != "delete" or self.state in GONE


async def dispose_of_kek(keyring: Keyring, kek: KekRef) -> KekDisposal:
    """Delete a KEK, or have the KMS do so after its waiting period. What it answers is returned, a refusal too.

    What an earlier run got as far as is found and taken for the answer.
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
    refused = None if info.state in GONE else f"the KMS was asked to delete it, and says that it is {info.state}"
    return KekDisposal(kek, "delete", info.state, info.deletion_at, _printable(info.request_id), refused)


async def _delete(provider: KmsProvider, kek: KekRef) -> KekInfo:
    try:
        return await provider.delete_kek(kek)
    except (KeyPendingDeletion, KeyDestroyed):
        return await provider.describe(kek)


def _printable(text: str | None) -> str | None:
    """Return what a certificate may hold of a text that a KMS sent."""
    return text and "".join(character if character.isprintable() else " " for character in text)
