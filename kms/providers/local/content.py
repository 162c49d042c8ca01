"""The content of a keyring file: KEKs, the keyring's id, and the changes that made it."""

from __future__ import annotations

import os
import secrets
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from strongroom.kms.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHANGE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Kek:
    """The versions of a KEK by number. The highest version wraps."""

    versions: dict[int, Secret]
    created: dict[int, str]

    @property
    def primary(self) -> int:
        """The version that wraps."""
        return max(self.versions)


@dataclass(frozen=True, slots=True)
class KeyringHead:
    """The newest change of a keyring, as the registry records it.

    Attributes:
        keyring_id: The keyring's id, which never changes.
        change: The random id of its newest change.
        changes: The number of its changes.
        changed_at: The time at which the change was registered; None if it is not registered.
    """

    keyring_id: UUID
    change: str
    changes: int
    changed_at: datetime | None = None


@dataclass(slots=True)
class KeyringFile:
    """The decrypted content of a keyring file.

    Attributes:
        keks: The KEKs by id.
        protection: The scrypt parameters and salt of a file with a passphrase, else None.
        keyring_id: The id of the keyring. All copies of a file have the same one.
        lineage: The ids of all changes, in order. A file is up to date with a change if its lineage has it.
        deleted: The time of each deleted version, by KEK and version.
    """

    keks: dict[str, Kek] = field(default_factory=dict)
    protection: dict[str, Any] | None = None
    keyring_id: UUID = field(default_factory=uuid4)
    lineage: list[str] = field(default_factory=lambda: [new_change()])
    deleted: dict[str, dict[int, str]] = field(default_factory=dict)

    @property
    def head(self) -> KeyringHead:
        """The newest change."""
        return KeyringHead(self.keyring_id, self.lineage[-1], len(self.lineage))

    def descends_from(self, change: str) -> bool:
        """Return whether this content was made from the one that had this change as its newest."""
        return change in self.lineage

    def copied(self) -> KeyringFile:
        """Return a copy that can be changed without changing this one."""
        return replace(
            self,
            keks={kek_id: Kek(dict(kek.versions), dict(kek.created)) for kek_id, kek in self.keks.items()},
            protection=copy(self.protection),
            lineage=list(self.lineage),
            deleted={kek_id: dict(versions) for kek_id, versions in self.deleted.items()},
        )

    def versions(self) -> Mapping[str, frozenset[int]]:
        """Return the versions of each KEK."""
        return {kek_id: frozenset(kek.versions) for kek_id, kek in self.keks.items()}

    def add_version(self, kek_id: str) -> int:
        """Add a random version to a KEK, which wraps from then on, and return its number. A missing KEK is created.

        The number of a deleted version is not used again.
        """
        kek = self.keks.setdefault(kek_id, Kek({}, {}))
        version = max([*kek.versions, *self.deleted.get(kek_id, {})], default=0) + 1
        kek.versions[version] = Secret(os.urandom(32))
        kek.created[version] = _now()
        return version

    def delete(self, kek_id: str, version: int | None = None) -> None:
        """Delete a version of a KEK, or the whole KEK, and record that it was deleted."""
        kek = self.keks[kek_id]
        for each in sorted(kek.versions) if version is None else [version]:
            del kek.versions[each]
            self.deleted.setdefault(kek_id, {})[each] = _now()
        if not kek.versions:
            del self.keks[kek_id]


def new_change() -> str:
    """Return the id of a new change."""
    return secrets.token_hex(_CHANGE_BYTES)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
