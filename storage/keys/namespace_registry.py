"""The keys of one namespace in a transaction that may change them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.kms import DataKeyRecord, KeyClass, KeyConflict, KeyState

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.kms.keys.registry_head import RegistryHead


@dataclass(slots=True)
class NamespaceRegistry:
    """The keys of one namespace in a transaction that may change them.

    Attributes:
        namespace_id: The namespace.
        head: The head that was read; None for a namespace without keys.
        keys: The keys by class and version. A change replaces entries.
        shredding: The digest of the shredding, which a change may replace.
    """

    namespace_id: UUID
    head: RegistryHead | None
    keys: dict[tuple[KeyClass, int], DataKeyRecord]
    shredding: bytes
    _read: tuple[dict[tuple[KeyClass, int], DataKeyRecord], bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._read = (dict(self.keys), self.shredding)

    @property
    def records(self) -> list[DataKeyRecord]:
        """The keys in the order of class and version."""
        return sorted(self.keys.values(), key=lambda key: (key.key_class.value, key.version))

    @property
    def is_changed(self) -> bool:
        """Whether the head must be written again."""
        before, shredding = self._read
        return (
            self.shredding != shredding
            or self.keys != before
            or any(key.lease != before[place].lease for place, key in self.keys.items())
        )

    def put(self, key: DataKeyRecord) -> None:
        """Add or replace a key."""
        self.keys[key.key_class, key.version] = key

    def get(self, key_class: KeyClass, version: int, state: KeyState) -> DataKeyRecord:
        """Return a key that must be in a state.

        Raises:
            KeyConflict: It is in another state, or does not exist.
        """
        key = self.keys.get((key_class, version))
        if key is None or key.state is not state:
            raise KeyConflict
        return key
