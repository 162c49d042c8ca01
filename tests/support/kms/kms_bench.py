"""The parts of a KMS that the contract suite needs in addition to the provider: an administrator and faults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from strongroom.kms import KekRef, KmsProvider, StrongroomError


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a KMS, with the error that the provider must raise.

    Attributes:
        error: The error that every use of a key raises during the fault.
        provoke: Function that provokes the fault for a KEK, and ends it with the block.
        retry_after: The `retry_after` of the error, in seconds; None if the KMS gives none.
    """

    error: type[StrongroomError]
    provoke: Callable[[KekRef], AbstractAsyncContextManager[KmsProvider]]
    """A context manager that yields the provider to use, usually the bench's own."""
    retry_after: float | None = None


class Administrator(Protocol):
    """An administrator, who changes KEKs in the KMS itself, without the provider."""

    async def disable(self, kek: KekRef) -> None:
        """Disable a KEK."""

    async def enable(self, kek: KekRef) -> None:
        """Enable a KEK again."""


@dataclass(frozen=True, slots=True)
class KmsBench:
    """A provider on its server.

    Attributes:
        name: The kind of the provider.
        provider: The provider to test.
        missing: A KEK that does not exist.
        administrator: The administrator; None if the KMS can't disable keys.
        faults: The faults by name.
        secrets: Texts that no error, repr or log may show (tokens, PINs, passwords).
        deleted: The error that a use of a KEK raises after `delete_kek`.
        children: The providers of the children of a multi provider, by their ids.
    """

    name: str
    provider: KmsProvider
    missing: KekRef
    deleted: type[StrongroomError]
    administrator: Administrator | None = None
    faults: Mapping[str, Fault] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    children: Mapping[str, KmsProvider] = field(default_factory=dict)
