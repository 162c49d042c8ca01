"""What the contract suite needs of a KMS besides the provider: its administrator and its faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from strongroom.kms import KekRef, KmsProvider, StrongroomError


@dataclass(frozen=True, slots=True)
class Fault:
    """A way in which a KMS refuses or fails, and what the provider makes of it.

    Attributes:
        error: that every use of a key raises meanwhile.
        provoke: brings it about for a KEK, and takes it away at the end.
        retry_after: seconds that the error must have; None if the KMS gives none.
    """

    error: type[StrongroomError]
    provoke: Callable[[KekRef], AbstractAsyncContextManager[KmsProvider]]
    """Yields the provider to ask: usually the bench's own."""
    retry_after: float | None = None


class Administrator(Protocol):
    """What an administrator does to KEKs in the KMS itself, without the provider."""

    async def disable(self, kek: KekRef) -> None:
        """Disable a KEK."""

    async def enable(self, kek: KekRef) -> None:
        """Enable it again."""


@dataclass(frozen=True, slots=True)
class KmsBench:
    """A provider on its server.

    Attributes:
        name: of the provider's kind.
        provider: to be tested.
        missing: a KEK that is not there.
        administrator: None where the KMS has no disabled keys.
        faults: by name.
        secrets: texts that no error, repr or log may show (tokens, PINs, passwords).
        deleted: what a use of a KEK raises after `delete_kek`.
    """

    name: str
    provider: KmsProvider
    missing: KekRef
    deleted: type[StrongroomError]
    administrator: Administrator | None = None
    faults: Mapping[str, Fault] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
