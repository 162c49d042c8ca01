"""The unwrapped keys of one namespace, with which storage and visibility seal, open and make tokens."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, cast

from strongroom.kms.errors import IntegrityError, InvalidRequest, KeyDestroyed, KeyNotFound, StrongroomError
from strongroom.kms.sealing.ciphers import implementation
from strongroom.kms.sealing.header import HEAD_BYTES, Suite
from strongroom.kms.sealing.tokens import TokenKey

from . import derivation
from .data_key import KEY_MISMATCH, DataKey
from .registry import KeyClass
from .signing import SigningKey
from .subkeys import CACHED_SUBKEYS, SubkeyCache
from .versions import key_of_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.kms.sealing.ciphers import Unpacker
    from strongroom.kms.sealing.record_kind import Plaintext, RecordKey, RecordKind
    from strongroom.kms.secret import Secret

    from .registry import DataKeyRecord

    Group: TypeAlias = tuple[RecordKind, RecordKey, Sequence[tuple[RecordKey, Plaintext]]]


class NamespaceKeys:
    """All usable key versions of one namespace. The keys are already unwrapped, so no method awaits anything.

    `Keyring.open` returns them for the time of one request. The keyring bounds how long they stay valid.

    Attributes:
        leased_version: The active data-key version if it is of suite 1, whose uses are leased; else None.

    Args:
        cell_id: The cell's id, bound to its region if it has one.
        namespace_id: The namespace.
        data: The data keys by version, with an error in place of a key that can't be used.
        index: The roots of class index, in the same way.
        identity: The roots of class identity, in the same way.
        active: The active version of each class that has one.
        layouts: The layout of the documents of each epoch, by version of class index.
        incomplete: Whether a version is missing because its KMS refused. The keyring soon asks the KMS again.
        cached_subkeys: The number of derived keys that are cached for reading.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_cell",
        "_contexts",
        "_data",
        "_identity",
        "_identity_keys",
        "_implementation",
        "_index",
        "_index_keys",
        "_layouts",
        "_sealing_key",
        "_sealing_refused",
        "_subkeys",
        "incomplete",
        "leased_version",
        "namespace_id",
    )

    def __init__(
        self,
        *,
        cell_id: UUID,
        namespace_id: UUID,
        data: Mapping[int, DataKey | StrongroomError],
        index: Mapping[int, Secret | StrongroomError],
        identity: Mapping[int, Secret | StrongroomError],
        active: Mapping[KeyClass, int],
        layouts: Mapping[int, str] = MappingProxyType({}),
        incomplete: bool = False,
        cached_subkeys: int = CACHED_SUBKEYS,
    ) -> None:
        self.namespace_id = namespace_id
        self.incomplete = incomplete
        self._cell = cell_id.bytes
        self._data = data
        self._index = index
        self._identity = identity
        self._active = active
        self._layouts = layouts
        self._sealing_refused: StrongroomError | None = None
        usable = [key for key in data.values() if isinstance(key, DataKey)]
        self._implementation = usable[0].implementation if usable else implementation()
        key = data.get(active.get(KeyClass.DATA, 0))
        self._sealing_key = key if isinstance(key, DataKey) else None
        self.leased_version = key.version if isinstance(key, DataKey) and key.suite is Suite.AES_256_GCM else None
        self._contexts: dict[RecordKind, bytes] = {}
        self._subkeys = SubkeyCache(data, cached_subkeys)
        self._index_keys: dict[tuple[int, str], TokenKey] = {}
        self._identity_keys: dict[str, TokenKey] = {}

    def seal_many(
        self, kind: RecordKind, rows: Sequence[tuple[RecordKey, Plaintext]], *, scope: RecordKey = ()
    ) -> list[bytes]:
        """Seal a batch under the active data key.

        Args:
            kind: The record kind of the rows.
            rows: For each row the remaining parts of its key, and the plaintext. For a packed kind, a plaintext may be given in
                parts; see `Plaintext`.
            scope: The leading key parts, which all rows share. They are encoded once.

        Returns:
            The sealed values, in order.

        Raises:
            KmsError: There is no active key, or it can't be used.
            SealingLimitExceeded: See `DataKey.seal_groups`.
            InvalidRequest: A key part does not have the type of the record kind.
        """
        if kind.is_packed:
            return self.seal_groups([(kind, scope, rows)])[0]
        key = self._sealing_key or self.active_data_key()
        rows = cast("Sequence[tuple[RecordKey, bytes]]", rows)
        return key.seal_rows(kind, self._contexts.get(kind) or self._context(kind), scope, rows)

    def seal_groups(self, groups: Sequence[Group]) -> list[list[bytes]]:
        """Seal rows of several kinds as one batch, with one derived key.

        Args:
            groups: For each group its record kind, the leading key parts that its rows share, and rows as in `seal_many`.

        Returns:
            The sealed values of each group, in order.

        Raises:
            KmsError, SealingLimitExceeded, InvalidRequest: As `seal_many`.
        """
        return self.active_data_key().seal_groups(
            [(kind, self._context(kind), scope, rows) for kind, scope, rows in groups]
        )

    def open_many(
        self, kind: RecordKind, rows: Sequence[tuple[RecordKey, bytes]], *, scope: RecordKey = ()
    ) -> list[bytes]:
        """Open a batch.

        Args:
            kind: The record kind of the rows.
            rows: For each row the remaining parts of its key, and the sealed value.
            scope: The leading key parts, which all rows share.

        Returns:
            The plaintexts, in order.

        Raises:
            IntegrityError: A value was altered, moved, or sealed under another key.
            UnsupportedFormat: A value is not a sealed value of a known format.
            KmsError: A value names a key version that is unknown, disabled or destroyed.
            InvalidRequest: A key part does not have the type of the record kind.
        """
        context = self._contexts.get(kind) or self._context(kind)
        flags, subkeys = 0, self._subkeys

        def resolve(sealed: bytes) -> tuple[Any, bytes, int]:
            nonlocal flags
            subkey, header, nonce_tail, own = subkeys.entries.get(sealed[:HEAD_BYTES]) or subkeys.derive(sealed)
            flags |= own
            return subkey, header + context, nonce_tail

        try:
            bodies = self._implementation.open_rows(resolve, kind.types, scope, rows)
        except self._implementation.KeyMismatch:
            raise InvalidRequest(KEY_MISMATCH) from None
        except self._implementation.NotOpened:
            raise IntegrityError from None
        if not flags or kind.body_flags is not None:
            return bodies
        implementation: Any = self._implementation
        try:
            return _unpacker(implementation, kind).unpack(bytes([sealed[3] for _, sealed in rows]), bodies)
        except self._implementation.NotOpened:
            raise IntegrityError from None

    def seal(self, kind: RecordKind, key: RecordKey, plaintext: bytes) -> bytes:
        """Seal one row."""
        return self.seal_many(kind, [(key, plaintext)])[0]

    def open(self, kind: RecordKind, key: RecordKey, sealed: bytes) -> bytes:
        """Open one row."""
        return self.open_many(kind, [(key, sealed)])[0]

    def active_data_key(self) -> DataKey:
        """Return the data key that seals new rows.

        Raises:
            KmsError: There is none, or it can't be used.
        """
        if self._sealing_refused is not None:
            raise copy(self._sealing_refused)
        return key_of_version(self._data, self.active_version(KeyClass.DATA))

    def opening_only(self, reason: StrongroomError) -> NamespaceKeys:
        """Return the same keys without the right to seal. Sealing raises a copy of `reason`."""
        limited = object.__new__(type(self))
        slots = {slot for owner in type(self).__mro__ for slot in getattr(owner, "__slots__", ())}
        for slot in slots - {"__weakref__"}:
            setattr(limited, slot, getattr(self, slot))
        limited._sealing_refused = reason
        limited._sealing_key = None
        limited.leased_version = None
        return limited

    def has_versions_of(self, records: Sequence[DataKeyRecord]) -> bool:
        """Return whether these keys have every data-key version of the registry's rows."""
        return all(record.version in self._data for record in records if record.key_class is KeyClass.DATA)

    def active_version(self, key_class: KeyClass) -> int:
        """Return the active version of a class.

        Raises:
            KeyDestroyed: The namespace was shredded.
            KeyNotFound: The class has no active key.
        """
        if key_class in self._active:
            return self._active[key_class]
        versions = {KeyClass.DATA: self._data, KeyClass.INDEX: self._index, KeyClass.IDENTITY: self._identity}[
            key_class
        ]
        if versions and all(isinstance(version, KeyDestroyed) for version in versions.values()):
            raise KeyDestroyed
        msg = f"the namespace has no active {key_class.value} key"
        raise KeyNotFound(msg)

    def identity(self, purpose: str) -> TokenKey:
        """Return the key for identifiers of one purpose, for example the values of a column. It never changes."""
        key = self._identity_keys.get(purpose)
        if key is None:
            root = key_of_version(self._identity, self.active_version(KeyClass.IDENTITY))
            key = self._identity_keys[purpose] = TokenKey(derivation.identity_key(root, purpose))
        return key

    def certificate_key(self) -> SigningKey:
        """Return the key that signs erasure certificates. Call this on the cell's own keys only."""
        return SigningKey(derivation.certificate_seed(self._identity_root()))

    def audit_key(self) -> SigningKey:
        """Return the key that signs checkpoints of audit logs. Call this on the cell's own keys only."""
        return SigningKey(derivation.audit_seed(self._identity_root()))

    def _identity_root(self) -> Secret:
        return key_of_version(self._identity, self.active_version(KeyClass.IDENTITY))

    def index(self, attribute: str, *, epoch: int) -> TokenKey:
        """Return the key for the index tokens of an attribute in an epoch, which is a version of class index."""
        key = self._index_keys.get((epoch, attribute))
        if key is None:
            root = key_of_version(self._index, epoch)
            key = self._index_keys[epoch, attribute] = TokenKey(derivation.token_key(root, attribute))
        return key

    def epochs(self) -> tuple[int, ...]:
        """Return the epochs that documents may have, the newest last. These are the versions of class index that are not destroyed.

        Raises:
            KeyDestroyed, KeyNotFound: As `active_version`.
        """
        self.active_version(KeyClass.INDEX)
        return tuple(sorted(epoch for epoch, root in self._index.items() if not isinstance(root, KeyDestroyed)))

    def layout(self, epoch: int) -> str:
        """Return the layout of the documents of an epoch, as the registry has it. The first layout is ""."""
        return self._layouts.get(epoch, "")

    def _context(self, kind: RecordKind) -> bytes:
        context = self._contexts.get(kind)
        if context is None:
            context = self._contexts[kind] = kind.context(self._cell, self.namespace_id.bytes)
        return context

    def __repr__(self) -> str:
        return f"NamespaceKeys(namespace_id={self.namespace_id}, data={sorted(self._data)}, keys=<redacted>)"

    def __reduce__(self) -> NoReturn:
        msg = "key material is not pickled"
        raise TypeError(msg)


@lru_cache(maxsize=64)
def _unpacker(implementation: Any, kind: RecordKind) -> Unpacker:  # a protocol is not hashable for mypy
    unpacker: Unpacker = implementation.Unpacker(kind.dictionary, kind.tables)
    return unpacker
