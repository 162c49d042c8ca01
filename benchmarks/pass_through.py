"""Keys that seal nothing: what the same store would cost without cryptography. For benchmarks only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from strongroom.kms import NamespaceKeys, RecordKey, RecordKind, TokenKey


class PassThroughKeys:
    """In the place of `NamespaceKeys`: plaintexts come back as they are; tokens of identifiers are made as ever."""

    def __init__(self, keys: NamespaceKeys) -> None:
        self._keys = keys
        self.namespace_id = keys.namespace_id

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

    open = seal

    def identity(self, purpose: str) -> TokenKey:
        """As the real keys."""
        return self._keys.identity(purpose)


class PassThroughKeyring(Keyring):
    """Hands out keys that seal nothing."""

    async def open(self, namespace_id: UUID) -> NamespaceKeys:
        """As the real keyring."""
        keys = await super().open(namespace_id)
        made = self.__dict__.setdefault("_pass_through", {})
        if made.get(namespace_id, (None,))[0] is not keys:
            made[namespace_id] = (keys, PassThroughKeys(keys))
        return made[namespace_id][1]

    async def with_keys(
        self, namespace_id: UUID, use: Callable[[NamespaceKeys], object], *, keys: NamespaceKeys | None = None
    ) -> object:
        """As the real keyring."""
        return use(keys or await self.open(namespace_id))
