"""The local provider: KEKs in a keyring file, for development, tests, and machines whose disk is the trust boundary."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from strongroom.kms.errors import IntegrityError, InvalidRequest, KeyNotFound, KmsError, StrongroomError
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped, associated_data
from strongroom.kms.secret import Secret

from .registered_file import RegisteredFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .content import Kek, KeyringFile, KeyringHead
    from .ledger import KeyringLedger

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
        ledger: The record of the file's newest change. With it, a copy of the file that lacks KEKs of another copy is refused
            before it makes a KEK or wraps a key. None compares with nothing.

    Attributes:
        file: The keyring file.
    """

    capabilities = Capabilities(context="native", rewrap="client", batch=10_000, deletion="immediate", remote=False)

    def __init__(
        self,
        provider_id: str,
        path: Path,
        *,
        passphrase: str | None = None,
        region: str | None = None,
        ledger: KeyringLedger | None = None,
    ) -> None:
        self._id = provider_id
        self._region = region
        self.file = RegisteredFile(provider_id, path, passphrase=passphrase, ledger=ledger)

    def __repr__(self) -> str:
        return f"LocalProvider({self._id!r}, {str(self.file.path)!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has key material"
        raise TypeError(msg)

    async def create_keyring(self) -> bool:
        """Create an empty keyring file if there is none. Return whether one was created.

        Raises:
            KeyringFileError: The file can't be written.
        """
        return await self.file.create()

    async def create_kek(self, key_id: str) -> KekRef:
        """Create a KEK. An existing KEK is not changed.

        Raises:
            KeyringDiverged: Another copy of the file has made KEKs that this one lacks.
            KeyringFileError: The file can't be read or written.
        """

        def add(keyring: KeyringFile) -> None:
            if key_id not in keyring.keks:
                keyring.add_version(key_id)

        await self.file.change(add)
        return KekRef(self._id, key_id)

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a KEK, which wraps from then on. Older versions still unwrap.

        Raises:
            KeyNotFound: The KEK does not exist.
            KeyringDiverged, KeyringFileError: As `create_kek`.
        """

        def add(keyring: KeyringFile) -> str:
            self._kek(keyring, kek)
            return str(keyring.add_version(kek.key_id))

        return await self.file.change(add)

    def regions(self, kek: KekRef) -> frozenset[str | None]:  # noqa: ARG002 - all KEKs are in one region
        """Return the file's region from the configuration."""
        return frozenset((self._region,))

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a new random root key and its wrapped form."""
        root = Secret(os.urandom(32))
        return GeneratedKey(root, await self.wrap(kek, root, context=context))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version."""
        entry = self._kek(await self.file.for_wrapping(), kek)
        version = entry.primary
        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(entry.versions[version].reveal())
        sealed = cipher.encrypt(nonce, root.reveal(), associated_data(_WRAP_LABEL, kek.key_id, version, context))
        return Wrapped(kek, str(version), nonce + sealed)

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap a root with the KEK and version that the wrapped key names."""
        return self._unwrap(await self._with([wrapped]), wrapped, context)

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order. An error of one root is returned in its place and does not affect the others."""
        keyring = await self._with([wrapped for wrapped, _ in items])
        results: list[Secret | StrongroomError] = []
        for wrapped, context in items:
            try:
                results.append(self._unwrap(keyring, wrapped, context))
            except (KmsError, IntegrityError) as error:
                results.append(error)
        return results

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's primary version."""
        return await self.wrap(kek, await self.unwrap(wrapped, context=context), context=context)

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions of a KEK."""
        entry = self._kek(await self.file.current(), kek)
        return KekInfo(kek, "enabled", str(entry.primary), tuple(str(version) for version in sorted(entry.versions)))

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """Remove an old version of a KEK from the file. Copies of the file still have it."""

        def retire(keyring: KeyringFile) -> None:
            entry = self._kek(keyring, kek)
            if version not in map(str, entry.versions):
                msg = f"{kek} has no version {version}"
                raise KeyNotFound(msg)
            if version == str(entry.primary):
                msg = f"version {version} is the one that {kek} wraps with; rotate it first"
                raise InvalidRequest(msg)
            keyring.delete(kek.key_id, int(version))

        await self.file.change(retire)

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Remove a KEK with all its versions from the file, which records the deletion. Copies of the file still have it."""

        def delete(keyring: KeyringFile) -> None:
            self._kek(keyring, kek)
            keyring.delete(kek.key_id)

        await self.file.change(delete)
        return KekInfo(kek, "destroyed", "", ())

    async def check(self) -> str:
        """Return the number of KEKs, or raise `KeyringFileError` if the file can't be read."""
        keyring = await self.file.current()
        return f"its keyring can be read, by its owner only: {len(keyring.keks)} KEKs"

    async def check_registered(self, *, record: bool = True) -> KeyringHead:
        """Compare the file with the registry's record, and return its newest change.

        Args:
            record: Whether changes that the registry lacks are recorded.

        Raises:
            KeyringDiverged: Another copy of the file has made KEKs that this one lacks.
            KeyringFileError: The file can't be read.
        """
        await self.file.check_registered(record=record)
        return (await self.file.current()).head

    async def aclose(self) -> None:
        """Do nothing, because nothing is open."""

    async def _with(self, items: Sequence[Wrapped]) -> KeyringFile:
        """Return the content of the file. If it lacks a version, it is read again, because another host may have added it."""
        keyring = await self.file.current()
        versions = keyring.versions()
        if all(_version(wrapped) in versions.get(wrapped.kek.key_id, ()) for wrapped in items):
            return keyring
        return await self.file.current(again=True)

    def _unwrap(self, keyring: KeyringFile, wrapped: Wrapped, context: Mapping[str, str]) -> Secret:
        entry = self._kek(keyring, wrapped.kek)
        version = _version(wrapped)
        if version not in entry.versions:
            raise self._missing(keyring, wrapped.kek, version)
        nonce, sealed = wrapped.ciphertext[:_NONCE_BYTES], wrapped.ciphertext[_NONCE_BYTES:]
        try:
            associated = associated_data(_WRAP_LABEL, wrapped.kek.key_id, version, context)
            return Secret(AESGCM(entry.versions[version].reveal()).decrypt(nonce, sealed, associated))
        except (InvalidTag, ValueError):
            raise IntegrityError from None

    def _kek(self, keyring: KeyringFile, kek: KekRef) -> Kek:
        entry = keyring.keks.get(kek.key_id)
        if entry is None:
            raise self._missing(keyring, kek)
        return entry

    def _missing(self, keyring: KeyringFile, kek: KekRef, version: int | None = None) -> KeyNotFound:
        """Return the error for a missing KEK. It is a refusal only if the file records that the KEK was deleted."""
        deleted = keyring.deleted.get(kek.key_id, {})
        what = f"KEK {kek.key_id!r}" if version is None else f"version {version} of KEK {kek.key_id!r}"
        when = max(deleted.values(), default=None) if version is None else deleted.get(version)
        if when is not None:
            return KeyNotFound(f"{what} was deleted from the keyring {self.file.path} at {when}")
        msg = (
            f"the keyring {self.file.path} has no {what}; if another host made it, this host has another copy of the file: "
            "run 'strongroom keys keyring status'"
        )
        return KeyNotFound(msg, is_refusal=False)


def _version(wrapped: Wrapped) -> int:
    """Return the number of the version that wrapped a key; 0 if the text is no number of a version."""
    digits = wrapped.kek_version
    return int(digits) if digits.isdecimal() and len(digits) <= _VERSION_DIGITS else 0
