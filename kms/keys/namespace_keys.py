"""The unwrapped keys of one namespace: what storage and visibility seal, open and make tokens with."""

from __future__ import annotations

from copy import copy
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

from strongroom.kms.errors import (
    IntegrityError,
    InvalidRequest,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KmsError,
    StrongroomError,
)
from strongroom.kms.sealing import packing
from strongroom.kms.sealing.ciphers import implementation
from strongroom.kms.sealing.header import HEAD_BYTES, HEADER_BYTES, Suite, parse_header
from strongroom.kms.sealing.tokens import TokenKey

from . import derivation
from .data_key import KEY_MISMATCH, DataKey
from .registry import KeyClass, KeyState
from .signing import SigningKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from strongroom.kms.sealing.ciphers import Unpacker
    from strongroom.kms.sealing.record_kind import Key, RecordKind
    from strongroom.kms.secret import Secret

    from .registry import DataKeyRecord

    T = TypeVar("T", "DataKey", "Secret")
    Group: TypeAlias = tuple[RecordKind, Key, Sequence[tuple[Key, bytes]]]


OPENERS_KEPT = 1024
"""Derived keys kept for reading, a namespace: about 0.9 KB each in the kernel, 2.7 KB in Python (OpenSSL's contexts)."""
_Opener: TypeAlias = tuple[Any, bytes, int, int]
"""A subkey, the header, where the last 12 bytes of the nonce begin, and the header's flags."""


class NamespaceKeys:
    """All key versions of one namespace that may be used, resolved once: no call below awaits anything.

    Obtained from `Keyring.open`, for the time of one request; the keyring bounds how long it stays valid.

    Attributes:
        leased_version: the active data-key version if it is of suite 1, whose uses are counted; None otherwise.

    Args:
        cell_id: the deployment that the rows belong to.
        namespace_id: whose rows.
        data: unwrapped data keys by version, or why a version can't be used.
        index: roots of the index class, likewise.
        identity: roots of the identity class, likewise.
        active: the active version of each class that has one.
        layouts: what documents of an epoch hold, by version of the index class.
        incomplete: whether a version that should open does not, because its KMS refused; asked again soon.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_cell",
        "_contexts",
        "_data",
        "_identity",
        "_implementation",
        "_index",
        "_layouts",
        "_openers",
        "_sealing_key",
        "_sealing_refused",
        "_token_keys",
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
        self._openers: dict[bytes, _Opener] = {}
        self._token_keys: dict[tuple[KeyClass, int, str], TokenKey] = {}

    def seal_many(self, kind: RecordKind, rows: Sequence[tuple[Key, bytes]], *, scope: Key = ()) -> list[bytes]:
        """Seal a batch under the active data key.

        Args:
            kind: what the rows are.
            rows: for each row the rest of its primary key, and the plaintext.
            scope: the leading parts of the primary key that all rows share; encoded once.

        Returns:
            The sealed values, in order.

        Raises:
            KmsError: there is no active key, or it can't be used.
            SealingLimitExceeded: see `DataKey.seal_groups`.
        """
        if kind.is_packed:
            return self.seal_groups([(kind, scope, rows)])[0]
        key = self._sealing_key or self.active_data_key()
        return key.seal_rows(kind, self._contexts.get(kind) or self._context(kind), scope, rows)

    def seal_groups(self, groups: Sequence[Group]) -> list[list[bytes]]:
        """Seal rows of several kinds as one batch: one draw of nonces and one derived key for all of them.

        Args:
            groups: for each its kind, the leading key parts that its rows share, and rows as in `seal_many`.

        Returns:
            The sealed values of each group, in order.

        Raises:
            KmsError, SealingLimitExceeded: as `seal_many`.
        """
        return self.active_data_key().seal_groups(
            [(kind, self._context(kind), scope, rows) for kind, scope, rows in groups]
        )

    def open_many(self, kind: RecordKind, rows: Sequence[tuple[Key, bytes]], *, scope: Key = ()) -> list[bytes]:
        """Open a batch; arguments as in `seal_many`, with sealed values for plaintexts.

        Raises:
            IntegrityError: a value does not open here: altered, moved, or sealed under another key.
            UnsupportedFormat: a value is not of the sealed format.
            KmsError: a value names a key version that is unknown, disabled or destroyed.
        """
        context = self._contexts.get(kind) or self._context(kind)
        flags = 0

        def resolve(sealed: bytes) -> tuple[Any, bytes, int]:
            nonlocal flags
            subkey, header, nonce_tail, own = self._openers.get(sealed[:HEAD_BYTES]) or self._opener(sealed)
            flags |= own
            return subkey, header + context, nonce_tail

        try:
            bodies = self._implementation.open_rows(resolve, kind.types, scope, rows)
        except self._implementation.KeyMismatch:
            raise InvalidRequest(KEY_MISMATCH) from None
        except self._implementation.NotOpened:
            raise IntegrityError from None
        if not flags:
            return bodies
        chosen: Any = self._implementation
        try:
            return _unpacker(chosen, kind).unpack(bytes([sealed[3] for _, sealed in rows]), bodies)
        except self._implementation.NotOpened:
            raise IntegrityError from None

    def seal(self, kind: RecordKind, key: Key, plaintext: bytes) -> bytes:
        """Seal one row."""
        return self.seal_many(kind, [(key, plaintext)])[0]

    def open(self, kind: RecordKind, key: Key, sealed: bytes) -> bytes:
        """Open one row."""
        return self.open_many(kind, [(key, sealed)])[0]

    def active_data_key(self) -> DataKey:
        """Return the data key that new rows are sealed with.

        Raises:
            KmsError: there is none, or it can't be used.
        """
        if self._sealing_refused is not None:
            raise copy(self._sealing_refused)
        return _usable(self._data, self.active_version(KeyClass.DATA))

    def opening_only(self, reason: StrongroomError) -> NamespaceKeys:
        """Return the same keys, with which nothing can be sealed, for this reason."""
        limited = object.__new__(type(self))
        slots = {slot for owner in type(self).__mro__ for slot in getattr(owner, "__slots__", ())}
        for slot in slots - {"__weakref__"}:
            setattr(limited, slot, getattr(self, slot))
        limited._sealing_refused = reason
        limited._sealing_key = None
        limited.leased_version = None
        return limited

    def knows(self, records: Sequence[DataKeyRecord]) -> bool:
        """Whether these keys hold every data-key version of the registry."""
        return all(record.version in self._data for record in records if record.key_class is KeyClass.DATA)

    def active_version(self, key_class: KeyClass) -> int:
        """Return the active version of a class.

        Raises:
            KeyDestroyed: the namespace was shredded.
            KeyNotFound: the class has no active key.
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
        """Return the key for identifiers of one purpose (a column's values, say); fixed while the namespace lives."""
        version = self.active_version(KeyClass.IDENTITY)
        return self._token_key(KeyClass.IDENTITY, version, purpose)

    def certificate_key(self) -> SigningKey:
        """Return the key that signs erasure certificates; the cell's own keys alone are asked for it."""
        return SigningKey(derivation.certificate_seed(self._identity_root()))

    def audit_key(self) -> SigningKey:
        """Return the key that signs checkpoints of audit logs; likewise."""
        return SigningKey(derivation.audit_seed(self._identity_root()))

    def _identity_root(self) -> Secret:
        return _usable(self._identity, self.active_version(KeyClass.IDENTITY))

    def index(self, attribute: str, *, epoch: int) -> TokenKey:
        """Return the key for the index tokens of an attribute in an epoch (a version of the index class)."""
        return self._token_key(KeyClass.INDEX, epoch, attribute)

    def epochs(self) -> tuple[int, ...]:
        """Return the versions of the index class that documents may have, the newest last: all that are not destroyed.

        Raises:
            KeyDestroyed, KeyNotFound: as `active_version`.
        """
        self.active_version(KeyClass.INDEX)
        return tuple(sorted(epoch for epoch, root in self._index.items() if not isinstance(root, KeyDestroyed)))

    def layout(self, epoch: int) -> str:
        """Return what the registry says that documents of an epoch hold; "" for the first layout."""
        return self._layouts.get(epoch, "")

    def _token_key(self, key_class: KeyClass, version: int, name: str) -> TokenKey:
        slot = (key_class, version, name)
        made = self._token_keys.get(slot)
        if made is None:
            if key_class is KeyClass.INDEX:
                made = TokenKey(derivation.token_key(_usable(self._index, version), name))
            else:
                made = TokenKey(derivation.identity_key(_usable(self._identity, version), name))
            self._token_keys[slot] = made
        return made

    def _opener(self, sealed: bytes) -> _Opener:
        """Find what opens a value, and remember it for all that were sealed in one batch with it (suite 2)."""
        header = parse_header(sealed)
        subkey, nonce_tail = _usable(self._data, header.key_version).subkey_of(sealed, header)
        opener = (subkey, bytes(sealed[:HEADER_BYTES]), nonce_tail, header.flags)
        if header.suite is Suite.XAES_256_GCM:
            if len(self._openers) >= OPENERS_KEPT:
                kept = list(self._openers)  # in one step: other threads insert meanwhile
                for oldest in kept[: OPENERS_KEPT // 2]:
                    self._openers.pop(oldest, None)
            self._openers[bytes(sealed[:HEAD_BYTES])] = opener
        return opener

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
def _unpacker(chosen: Any, kind: RecordKind) -> Unpacker:
    # A kernel that was built before it had one seals and opens as well.
    made: Unpacker = getattr(chosen, "Unpacker", packing.Unpacker)(kind.dictionary, kind.tables)
    return made


def unusable(state: KeyState, key_class: KeyClass = KeyClass.DATA) -> KmsError | None:
    """Return why a key in this state can't be used at all; None if it can (FORMAT.md section 6.1)."""
    if state is KeyState.DESTROYED:
        return KeyDestroyed()
    if state is KeyState.DISABLED:
        return KeyDisabled()
    if state is KeyState.PENDING and key_class is not KeyClass.INDEX:
        return KeyNotFound("the key version is not active yet")
    return None


def _usable(versions: Mapping[int, T | StrongroomError], version: int) -> T:
    """Look a version up; only ever the one that a row names, and only in the row's own namespace."""
    found = versions.get(version)
    if found is None:
        msg = f"no key version {version} in this namespace"
        raise KeyNotFound(msg)
    if isinstance(found, StrongroomError):
        raise copy(found)  # a traceback belongs to one raise
    return found
