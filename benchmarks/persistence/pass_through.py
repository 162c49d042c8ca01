"""Keys that seal nothing. They show the cost of a store without cryptography. For benchmarks only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.kms import Keyring

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys, RecordKey, RecordKind


_SEALED = b"\x07\x01"
"""The first bytes of a sealed value (kms/FORMAT.md section 2)."""


class PassThroughKeys:
    """`NamespaceKeys` whose sealed values are the plaintexts; everything else is as in the real keys."""

    def __init__(self, keys: NamespaceKeys) -> None:
        self._keys = keys

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the real keys, for example a token key."""
        return getattr(self._keys, name)

    def seal_groups(
        self, groups: Sequence[tuple[RecordKind, RecordKey, Sequence[tuple[RecordKey, bytes]]]]
    ) -> list[list[bytes]]:
        """Return the plaintexts."""
        return [[plaintext for _, plaintext in rows] for _, _, rows in groups]

    def seal_many(
        self,
        _kind: RecordKind,
        rows: Sequence[tuple[RecordKey, bytes]],
        *,
        scope: RecordKey = (),  # noqa: ARG002 - the signature of NamespaceKeys
    ) -> list[bytes]:
        """Return the plaintexts."""
        return [plaintext for _, plaintext in rows]

    open_many = seal_many

    def seal(self, _kind: RecordKind, _key: RecordKey, plaintext: bytes) -> bytes:
        """Return the plaintext."""
        return plaintext

    def open(self, kind: RecordKind, key: RecordKey, value: bytes) -> bytes:
        """Return the value, or open it if it was sealed before these keys took the place of the real ones."""
        return self._keys.open(kind, key, value) if value[:2] == _SEALED else value


class PassThroughKeyring(Keyring):
    """A keyring whose keys seal nothing."""

    async def open(self, namespace_id: UUID) -> NamespaceKeys:
        """Return keys that seal nothing. The same object is returned as long as the real keys are the same."""
        keys = await super().open(namespace_id)
        made: dict[UUID, tuple[NamespaceKeys, Any]] = self.__dict__.setdefault("_pass_through", {})
        if namespace_id not in made or made[namespace_id][0] is not keys:
            made[namespace_id] = (keys, PassThroughKeys(keys))
        return made[namespace_id][1]  # type: ignore[no-any-return]
