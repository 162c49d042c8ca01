"""The registry of data keys: what a row of it holds, and the store that keeps it (FORMAT.md section 6).

A registry row holds a root key wrapped by a KEK; the row can be read by anyone, the root by whoever may use the KEK.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from strongroom.kms.region import bound_cell_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.kms.provider import KekRef, Wrapped
    from strongroom.kms.sealing.header import Suite


class KeyClass(Enum):
    """What a root is for."""

    DATA = "data"  # seals rows and records; rotates freely, old versions only open
    INDEX = "index"  # tokens of search attributes; an epoch of the index
    IDENTITY = "identity"  # identifiers of rows and documents; fixed for the life of the namespace


class KeyState(Enum):
    """State of a data key, after NIST SP 800-57 part 1."""

    PENDING = "pending"
    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class KeyContext:
    """What a root is bound to: in the KMS's encryption context where the provider has one, in the commitment always."""

    cell_id: UUID
    namespace_id: UUID
    key_class: KeyClass
    version: int
    layout: str = ""
    region: str | None = None

    def encryption_context(self) -> dict[str, str]:
        """Return the KMS's encryption context. A KMS logs it in clear, so it holds ids only."""
        context = {
            "strongroom:cell": str(self.cell_id),
            "strongroom:namespace": str(self.namespace_id),
            "strongroom:class": self.key_class.value,
            "strongroom:version": str(self.version),
        }
        return context if self.region is None else context | {"strongroom:region": self.region}

    def encode(self) -> bytes:
        """Return the canonical bytes (FORMAT.md section 6.2)."""
        name = self.key_class.value.encode()
        return (
            bound_cell_id(self.cell_id, self.region).bytes
            + self.namespace_id.bytes
            + struct.pack(">H", len(name))
            + name
            + struct.pack(">I", self.version)
            + self.layout.encode()
        )


@dataclass(frozen=True, slots=True)
class DataKeyRecord:
    """A row of the registry.

    Attributes:
        namespace_id: whose key this is.
        key_class: what it is for.
        version: from 1, per namespace and class; never used again, not even after destruction.
        suite: what its values are sealed with (class data), else the suite in force when it was made.
        state: see `KeyState`; one version per namespace and class is active.
        provider: id of the KMS provider that wrapped it.
        kek_id: the KEK within that provider.
        kek_version: the version of the KEK that wrapped it.
        wrapped: the wrapped root; None once destroyed.
        commitment: 32 bytes that the unwrapped root must reproduce.
        created_at: UTC.
        destroyed_at: UTC; None before.
        layout: class index: what documents of this epoch hold, in words of the index; "" for the first layout.
    """

    namespace_id: UUID
    key_class: KeyClass
    version: int
    suite: Suite
    state: KeyState
    provider: str
    kek_id: str
    kek_version: str
    wrapped: bytes | None
    commitment: bytes
    created_at: datetime
    destroyed_at: datetime | None = None
    layout: str = ""

    def context(self, cell_id: UUID, region: str | None = None) -> KeyContext:
        """Return what this root is bound to in a cell, and in its region if it has one."""
        return KeyContext(cell_id, self.namespace_id, self.key_class, self.version, self.layout, region)


@dataclass(frozen=True, slots=True)
class KekUsage:
    """What depends on a version of a KEK: without it these keys unwrap no more.

    Attributes:
        provider: id of the KMS provider.
        kek_id: the KEK within it.
        kek_version: the version.
        keys: data keys that it wraps, of all classes.
        namespaces: whose they are.
    """

    provider: str
    kek_id: str
    kek_version: str
    keys: int
    namespaces: int


class DataKeyStore(Protocol):
    """Where the registry is kept. `strongroom.storage` keeps it in PostgreSQL."""

    async def list_data_keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace, the destroyed ones included, by class and version."""

    async def insert_data_keys(self, records: Iterable[DataKeyRecord]) -> None:
        """Store new keys of a namespace, all or none.

        Raises:
            KeyConflict: it has one of these versions.
        """

    async def rotate_data_key(self, successor: DataKeyRecord, *, expected_active: int) -> None:
        """Make a new key the active one of its class, and the one that was active `decrypt_only`, at once.

        Raises:
            KeyConflict: the active version is not the expected one (any more).
        """

    async def activate_data_key(
        self, namespace_id: UUID, key_class: KeyClass, version: int, *, expected_active: int
    ) -> None:
        """Make a pending key the active one of its class, and the one that was active `decrypt_only`, at once.

        Raises:
            KeyConflict: the versions are not in these states (any more).
        """

    async def destroy_data_key(
        self, namespace_id: UUID, key_class: KeyClass, version: int, *, destroyed_at: datetime
    ) -> None:
        """Forget one wrapped root that is `decrypt_only`, for good; its row stays as a tombstone.

        Raises:
            KeyConflict: it is in another state.
        """

    async def destroy_data_keys(self, namespace_id: UUID, *, destroyed_at: datetime) -> Sequence[DataKeyRecord]:
        """Forget every wrapped root of a namespace, for good; the rows stay as tombstones, and are returned."""

    async def disable_data_keys(self, namespace_id: UUID) -> None:
        """Make every key of a namespace `disabled` that is neither destroyed nor disabled, and remember its state."""

    async def enable_data_keys(self, namespace_id: UUID) -> None:
        """Give the keys that `disable_data_keys` disabled the states that they had."""

    async def lease_records(self, namespace_id: UUID, version: int, *, count: int, limit: int) -> bool:
        """Set aside `count` uses of a key of suite 1; False when that would pass `limit`. An unused rest is lost."""

    async def list_kek_usage(self) -> Sequence[KekUsage]:
        """Return what depends on which version of which KEK; versions that nothing depends on are left out."""

    async def count_wrapped(self, kek: KekRef, *, except_version: str | None, namespace_id: UUID | None) -> int:
        """Return how many keys `list_wrapped` finds in all."""

    async def list_wrapped(
        self,
        kek: KekRef,
        *,
        except_version: str | None,
        namespace_id: UUID | None,
        after: DataKeyRecord | None,
        limit: int,
    ) -> Sequence[DataKeyRecord]:
        """Return keys that a KEK wrapped and that are not destroyed, by namespace, class and version.

        Args:
            kek: the KEK.
            except_version: leave out what this version of it wrapped.
            namespace_id: whose; None for all.
            after: the last one of the page before.
            limit: the most to return.
        """

    async def rewrap_data_keys(self, rewrapped: Sequence[tuple[DataKeyRecord, Wrapped]]) -> int:
        """Exchange wrapped roots for other wrapped forms of the same, each if it is still as it was read.

        Returns:
            How many were exchanged.
        """

    async def list_due(self, *, created_before: datetime, rows: int, rows_suite_1: int) -> Sequence[UUID]:
        """Return the namespaces whose active data key was made before a time, or sealed at least so many rows."""

    async def retire_kek(self, cell_id: UUID, kek: KekRef) -> None:
        """See to it that no key is registered under a KEK any more, as it is to be deleted.

        Raises:
            KeyConflict: it wraps a key that is not destroyed.
        """

    async def keep_kek(self, cell_id: UUID, kek: KekRef) -> None:
        """Take `retire_kek` back: the KMS did not delete it."""
