"""The registry of data keys: its rows, and the protocol of the store that keeps them (FORMAT.md section 6).

A row has a root key wrapped by a KEK. Anyone with the database can read the row. Only those who may use the KEK can read
the root.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from strongroom.kms.region import bound_cell_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import timedelta
    from uuid import UUID

    from strongroom.kms.provider import KekRef, Wrapped
    from strongroom.kms.sealing.header import Suite


UNREGISTERED = datetime(1970, 1, 1, tzinfo=UTC)
"""The time of creation of a key that is not registered yet."""


class KeyClass(Enum):
    """The purpose of a root."""

    DATA = "data"  # seals rows and records; rotates at any time, old versions only open
    INDEX = "index"  # makes the tokens of search attributes; a version is an epoch of the index
    IDENTITY = "identity"  # makes identifiers of rows and documents; never changes


class KeyState(Enum):
    """State of a data key (NIST SP 800-57 part 1)."""

    PENDING = "pending"
    ACTIVE = "active"
    DECRYPT_ONLY = "decrypt_only"
    DISABLED = "disabled"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True)
class KeyContext:
    """The context to which a root is bound. The commitment binds it, and the KMS does too if it has encryption contexts."""

    cell_id: UUID
    namespace_id: UUID
    key_class: KeyClass
    version: int
    layout: str = ""
    region: str | None = None

    def encryption_context(self) -> dict[str, str]:
        """Return the encryption context for the KMS. It has ids only, because a KMS logs it in clear."""
        context = {
            "strongroom:cell": str(self.cell_id),
            "strongroom:namespace": str(self.namespace_id),
            "strongroom:class": self.key_class.value,
            "strongroom:version": str(self.version),
        }
        return context if self.region is None else context | {"strongroom:region": self.region}

    def encode(self) -> bytes:
        """Return the canonical encoding (FORMAT.md section 6.2)."""
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
        namespace_id: The namespace.
        key_class: The purpose of the key.
        version: The version, from 1, within namespace and class. A version number is never reused, even after destruction.
        suite: The suite that seals values (class data), or the suite of the data key at creation (other classes).
        state: The state. One version of each namespace and class is active.
        provider: The id of the KMS provider that wrapped the root.
        kek_id: The id of the KEK within that provider.
        kek_version: The version of the KEK that wrapped the root.
        wrapped: The wrapped root; None once the key is destroyed.
        commitment: The commitment that an unwrapped root must match, 32 bytes.
        created_at: The time of its registration, UTC, by the clock of the registry's store. Before that, `UNREGISTERED`.
        destroyed_at: The time of destruction, UTC, by the same clock, or None.
        layout: The layout of the documents of this epoch (class index). The first layout is "".
        withdrawn: Whether the namespace is deleted. Its keys are disabled, and found by nobody until they are destroyed or restored.
        disabled_from: The state of a disabled key before the keys of its namespace were disabled together, or None.
        lease: The number of reserved uses. It changes with each reservation, so it is not compared.
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
    withdrawn: bool = False
    disabled_from: KeyState | None = None
    lease: int = field(default=0, compare=False)

    def context(self, cell_id: UUID, region: str | None = None) -> KeyContext:
        """Return the context of this root in a cell, and in the cell's region if it has one."""
        return KeyContext(cell_id, self.namespace_id, self.key_class, self.version, self.layout, region)


@dataclass(frozen=True, slots=True)
class KekUsage:
    """The keys that a version of a KEK wraps. Without that version they can't be unwrapped.

    Attributes:
        provider: The id of the KMS provider.
        kek_id: The id of the KEK within it.
        kek_version: The version of the KEK.
        keys: The number of data keys of all classes.
        namespaces: The number of their namespaces.
    """

    provider: str
    kek_id: str
    kek_version: str
    keys: int
    namespaces: int


class DataKeyStore(Protocol):
    """The store of the registry. `strongroom.storage` implements it in PostgreSQL."""

    async def list_data_keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace, including destroyed ones, ordered by class and version."""

    async def list_unverified(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Return all keys of a namespace as the store has them, without the check of their head.

        Only for the cell's identity key, which the pin verifies, and from which the key of the heads is derived.
        """

    async def insert_data_keys(self, records: Iterable[DataKeyRecord]) -> Sequence[DataKeyRecord]:
        """Insert new keys of a namespace, all or none, and return them with the store's time of creation.

        Raises:
            KeyConflict: One of these versions exists.
        """

    async def rotate_data_key(self, successor: DataKeyRecord, *, expected_active: int) -> DataKeyRecord:
        """Insert a new active key, and make the active key of its class `decrypt_only`, in one transaction.

        Returns:
            The new key, with the store's time of creation.

        Raises:
            KeyConflict: The active version is not `expected_active`.
        """

    async def activate_data_key(
        self, namespace_id: UUID, key_class: KeyClass, version: int, *, expected_active: int
    ) -> None:
        """Make a pending key active, and make the active key of its class `decrypt_only`, in one transaction.

        Raises:
            KeyConflict: The versions are not in these states.
        """

    async def destroy_data_key(self, namespace_id: UUID, key_class: KeyClass, version: int) -> None:
        """Delete the wrapped root of a key that is `decrypt_only`. Its row stays as a tombstone.

        Raises:
            KeyConflict: The key is in another state.
        """

    async def destroy_data_keys(self, namespace_id: UUID) -> Sequence[DataKeyRecord]:
        """Delete every wrapped root of a namespace. Return the rows, which stay as tombstones."""

    async def disable_data_keys(self, namespace_id: UUID) -> None:
        """Disable every key of a namespace that is neither destroyed nor disabled, and store its previous state."""

    async def enable_data_keys(self, namespace_id: UUID) -> None:
        """Restore the previous states of the keys that `disable_data_keys` disabled."""

    async def lease_records(self, namespace_id: UUID, version: int, *, count: int, limit: int) -> bool:
        """Add `count` uses to a data key's count, and return True. Return False and add nothing if that would exceed `limit`."""

    async def list_kek_usage(self) -> Sequence[KekUsage]:
        """Return the usage of each KEK version that wraps at least one key."""

    async def count_wrapped(self, kek: KekRef, *, except_version: str | None, namespace_id: UUID | None) -> int:
        """Return the number of keys that `list_wrapped` returns over all pages."""

    async def list_wrapped(
        self,
        kek: KekRef,
        *,
        except_version: str | None,
        namespace_id: UUID | None,
        after: DataKeyRecord | None,
        limit: int,
    ) -> Sequence[DataKeyRecord]:
        """Return a page of the keys that a KEK wraps, ordered by namespace, class and version.

        Args:
            kek: The KEK.
            except_version: A version of the KEK whose keys are left out.
            namespace_id: The namespace, or None for all.
            after: The last key of the previous page.
            limit: The size of a page.
        """

    async def rewrap_data_keys(self, rewrapped: Sequence[tuple[DataKeyRecord, Wrapped]]) -> int:
        """Replace wrapped roots with new wrapped forms. A row that has changed since it was read is skipped.

        Returns:
            The number of replaced roots.
        """

    async def list_due(self, *, max_age: timedelta, rows: int, rows_suite_1: int) -> Sequence[UUID]:
        """Return the namespaces whose active data key is older by the store's clock, or has sealed a given number of rows."""

    async def retire_kek(self, cell_id: UUID, kek: KekRef) -> None:
        """Refuse new keys under a KEK from now on, because it will be deleted.

        Raises:
            KeyConflict: The KEK wraps a key that is not destroyed.
        """

    async def keep_kek(self, cell_id: UUID, kek: KekRef) -> None:
        """Undo `retire_kek`, because the KMS did not delete the KEK."""
