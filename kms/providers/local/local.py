"""The local provider: KEKs in a keyring file, for development, tests, and machines whose disk is the trust boundary."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.kms.errors import IntegrityError, InvalidRequest, KeyNotFound, KmsError, StrongroomError
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped, associated_data
from strongroom.kms.secret import Secret

from .keyring_file import KeyringFile, locked, new_keyring, read_keyring, write_keyring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_NONCE_BYTES = 12
_VERSION_DIGITS = 9
_WRAP_LABEL = b"strongroom local wrap v1"


class LocalProvider:
    """A provider that wraps with AES-256-GCM under KEKs from a keyring file of mode 0600 (FORMAT.md section 8).

    The file is read again when it changes, so that KEKs that another process created or rotated are used.

    Args:
        provider_id: The id of this provider in the registry and in KEK URIs.
        path: The keyring file.
        passphrase: The passphrase of a protected file, or None.
        region: The file's region. With None no cell that is bound to a region uses the provider.
    """

    capabilities = Capabilities(context="native", rewrap="client", batch=10_000, deletion="immediate")

    def __init__(
        self, provider_id: str, path: Path, *, passphrase: str | None = None, region: str | None = None
    ) -> None:
        self._id = provider_id
        self._path = path
        self._passphrase = passphrase
        self._region = region
        self._keyring = KeyringFile()
        self._seen: tuple[int, int, int, int] | None = None

    def __repr__(self) -> str:
        return f"LocalProvider({self._id!r}, {str(self._path)!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has key material"
        raise TypeError(msg)

    async def create_keyring(self) -> bool:
        """Create an empty keyring file if there is none. Return whether one was created.

        Raises:
            KeyringFileError: The file can't be written.
        """
        return await asyncio.to_thread(self._create)

    async def create_kek(self, key_id: str) -> KekRef:
        """Create a KEK. An existing KEK is not changed.

        Raises:
            KeyringFileError: The file can't be read or written.
        """
        await asyncio.to_thread(self._change, key_id, only_new=True)
        return KekRef(self._id, key_id)

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a KEK, which wraps from then on. Older versions still unwrap.

        Raises:
            KeyNotFound: The KEK does not exist.
        """
        return str(await asyncio.to_thread(self._change, kek.key_id, only_new=False))

    def regions(self, kek: KekRef) -> frozenset[str | None]:  # noqa: ARG002 - all KEKs are in one region
        """Return the file's region from the configuration."""
        return frozenset((self._region,))

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a new random root key and its wrapped form."""
        root = Secret(os.urandom(32))
        return GeneratedKey(root, await self.wrap(kek, root, context=context))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version."""
        await self._refresh()
        entry = self._keyring.keks.get(kek.key_id)
        if entry is None:
            raise KeyNotFound(self._missing(kek))
        version = entry.primary
        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(entry.versions[version].reveal())
        sealed = cipher.encrypt(nonce, root.reveal(), associated_data(_WRAP_LABEL, kek.key_id, version, context))
        return Wrapped(kek, str(version), nonce + sealed)

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap a root with the KEK and version that the wrapped key names."""
        await self._refresh()
        return self._unwrap(wrapped, context)

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order. An error of one root is returned in its place and does not affect the others."""
        await self._refresh()
        results: list[Secret | StrongroomError] = []
        for wrapped, context in items:
            try:
                results.append(self._unwrap(wrapped, context))
            except (KmsError, IntegrityError) as error:
                results.append(error)
        return results

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's primary version."""
        return await self.wrap(kek, await self.unwrap(wrapped, context=context), context=context)

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions of a KEK."""
        await self._refresh()
        entry = self._keyring.keks.get(kek.key_id)
        if entry is None:
            raise KeyNotFound(self._missing(kek))
        return KekInfo(kek, "enabled", str(entry.primary), tuple(str(version) for version in sorted(entry.versions)))

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """Remove an old version of a KEK from the file. Copies of the file still have it."""
        await asyncio.to_thread(self._retire, kek, version)

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Remove a KEK with all its versions from the file. Copies of the file still have it."""
        await asyncio.to_thread(self._delete, kek)
        return KekInfo(kek, "destroyed", "", ())

    async def check(self) -> str:
        """Return the number of KEKs, or raise `KeyringFileError` if the file can't be read."""
        await self._refresh()
        return f"its keyring can be read, by its owner only: {len(self._keyring.keks)} KEKs"

    async def aclose(self) -> None:
        """Do nothing, because nothing is open."""

    def _unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> Secret:
        entry = self._keyring.keks.get(wrapped.kek.key_id)
        if entry is None:
            raise KeyNotFound(self._missing(wrapped.kek))
        digits = wrapped.kek_version
        version = int(digits) if digits.isdecimal() and len(digits) <= _VERSION_DIGITS else 0
        if version not in entry.versions:
            msg = f"the keyring {self._path} has no version {version} of this KEK"
            raise KeyNotFound(msg)
        nonce, sealed = wrapped.ciphertext[:_NONCE_BYTES], wrapped.ciphertext[_NONCE_BYTES:]
        try:
            associated = associated_data(_WRAP_LABEL, wrapped.kek.key_id, version, context)
            return Secret(AESGCM(entry.versions[version].reveal()).decrypt(nonce, sealed, associated))
        except (InvalidTag, ValueError):
            raise IntegrityError from None

    async def _refresh(self) -> None:
        seen = self._stamp()  # takes microseconds; reading a file with a passphrase takes a third of a second
        if seen is None or seen != self._seen:
            self._keyring = await asyncio.to_thread(read_keyring, self._path, self._passphrase)
            self._seen = seen

    def _stamp(self) -> tuple[int, int, int, int] | None:
        """Return values that change with the file, or None if it can't be examined. Reading it then raises the error."""
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode

    def _create(self) -> bool:
        with locked(self._path):
            if self._path.exists():
                return False
            write_keyring(self._path, new_keyring(self._passphrase), self._passphrase)
            return True

    def _change(self, key_id: str, *, only_new: bool) -> int:
        with locked(self._path):
            keyring = read_keyring(self._path, self._passphrase)
            exists = key_id in keyring.keks
            if only_new and exists:
                return keyring.keks[key_id].primary
            if not only_new and not exists:
                raise KeyNotFound(self._missing(KekRef(self._id, key_id)))
            version = keyring.add_version(key_id)
            write_keyring(self._path, keyring, self._passphrase)
            return version

    def _retire(self, kek: KekRef, version: str) -> None:
        with locked(self._path):
            keyring = read_keyring(self._path, self._passphrase)
            entry = keyring.keks.get(kek.key_id)
            if entry is None or version not in map(str, entry.versions):
                raise KeyNotFound(self._missing(kek) if entry is None else f"{kek} has no version {version}")
            if version == str(entry.primary):
                msg = f"version {version} is the one that {kek} wraps with; rotate it first"
                raise InvalidRequest(msg)
            del entry.versions[int(version)]
            write_keyring(self._path, keyring, self._passphrase)

    def _delete(self, kek: KekRef) -> None:
        with locked(self._path):
            keyring = read_keyring(self._path, self._passphrase)
            if keyring.keks.pop(kek.key_id, None) is None:
                raise KeyNotFound(self._missing(kek))
            write_keyring(self._path, keyring, self._passphrase)

    def _missing(self, kek: KekRef) -> str:
        return f"the keyring {self._path} has no KEK {kek.key_id!r}"
