"""The provider for hardware security modules and other tokens with a PKCS#11 module (pkcs11.md)."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar

import pkcs11

from strongroom.kms.errors import (
    IntegrityError,
    InvalidRequest,
    KeyNotFound,
    KmsError,
    StrongroomError,
    UnsupportedOperation,
)
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped, associated_data
from strongroom.kms.secret import Secret

from .module import module_at
from .token import Pkcs11Token
from .wrapping import DOES_NOT_OPEN, ROOT_BYTES, WRAPPINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    T = TypeVar("T")

_ID_BYTES = 4
_BATCH = 200
_VERSION_DIGITS = 9
_WRAP_LABEL = b"strongroom pkcs11 wrap v1"
_SECONDS = 60.0  # for a call that hangs in the module; the wait for the thread is not included
_ATTRIBUTE = pkcs11.Attribute


class Pkcs11Provider:
    """A provider whose keys never leave a token. A KEK is a label, and its versions are the keys with that label, by CKA_ID.

    Args:
        provider_id: The id of this provider in the registry and in KEK URIs.
        module: The vendor's library.
        token: The label of the token.
        pin: Returns the user's PIN. A refused PIN is not tried again.
        mechanism: The mechanism: `AES_GCM`, which binds the encryption context, or `AES_KEY_WRAP_PAD` for tokens that have no GCM.
        timeout: The seconds after which a call hangs, without its wait for other calls. The token can't be interrupted, so the
            thread stays busy until the token answers.
        region: The token's region. With None no cell that is bound to a region uses the provider.
    """

    def __init__(
        self,
        provider_id: str,
        module: Path,
        *,
        token: str,
        pin: Callable[[], str],
        mechanism: Literal["AES_GCM", "AES_KEY_WRAP_PAD"] = "AES_GCM",
        timeout: float = _SECONDS,
        region: str | None = None,
    ) -> None:
        self._id = provider_id
        self._shown = f"{str(module)!r}, token={token!r}, mechanism={mechanism!r}"
        self._wrapping = WRAPPINGS[mechanism]
        self._timeout = timeout
        self._region = region
        self._module = module_at(module)
        self._token = Pkcs11Token(self._module, token, pin=pin, what=provider_id)

    @property
    def capabilities(self) -> Capabilities:
        """The abilities, which depend on the mechanism."""
        return Capabilities(
            context=self._wrapping.context, rewrap="client", batch=_BATCH, deletion="immediate", remote=False
        )

    def __repr__(self) -> str:
        return f"Pkcs11Provider({self._id!r}, {self._shown})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has a PIN"
        raise TypeError(msg)

    def regions(self, kek: KekRef) -> frozenset[str | None]:  # noqa: ARG002 - all KEKs are in one region
        """Return the token's region from the configuration."""
        return frozenset((self._region,))

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a new random root key and its wrapped form."""
        root = Secret(os.urandom(ROOT_BYTES))
        return GeneratedKey(root, await self.wrap(kek, root, context=context))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's highest version."""

        def job(session: pkcs11.Session) -> Wrapped:
            versions = self._token.keys(session, kek.key_id)
            version = max(versions)
            key = versions[version][0]
            _check_kept(key, kek)
            bound = associated_data(_WRAP_LABEL, kek.key_id, version, context)
            return Wrapped(kek, str(version), self._wrapping.wrap(key, root.reveal(), bound))

        return await self._run(job, kek)

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap a root with the KEK and version that the wrapped key names."""
        return await self._run(lambda session: self._unwrap(session, wrapped, context), wrapped.kek)

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order. An error of one root is returned in its place and does not affect the others.

        Roots go to the token one by one, so that other callers have their turn. If the token does not answer, the rest is not
        sent.
        """
        answers: list[Secret | StrongroomError] = []
        down: KmsError | None = None
        for wrapped, context in items:
            try:
                answers.append(down or await self.unwrap(wrapped, context=context))
            except (KmsError, IntegrityError) as error:
                answers.append(error)
                down = error if isinstance(error, KmsError) and error.retryable else None
        return answers

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's highest version."""
        return await self.wrap(kek, await self.unwrap(wrapped, context=context), context=context)

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the versions of a KEK."""
        versions = await self._run(lambda session: sorted(self._token.keys(session, kek.key_id)), kek)
        return KekInfo(kek, "enabled", str(versions[-1]), tuple(str(version) for version in versions))

    async def create_kek(self, key_id: str) -> KekRef:
        """Let the token generate a key. An existing key is not changed."""
        kek = KekRef(self._id, key_id)
        with suppress(KeyNotFound):
            await self.describe(kek)
            return kek

        def job(session: pkcs11.Session) -> None:
            with suppress(KeyNotFound):
                self._token.keys(session, key_id)
                return  # another caller has created it
            self._add(session, kek, 1)

        await self._run(job, kek)
        return kek

    async def rotate_kek(self, kek: KekRef) -> str:
        """Let the token generate a key of the next version, which wraps from then on. Older versions still unwrap."""

        def job(session: pkcs11.Session) -> str:
            version = max(self._token.keys(session, kek.key_id)) + 1
            self._add(session, kek, version)
            return str(version)

        return await self._run(job, kek)

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """Destroy the key of an old version on the token. A backup of the token still has it."""

        def job(session: pkcs11.Session) -> None:
            versions = {str(number): keys for number, keys in self._token.keys(session, kek.key_id).items()}
            if version not in versions:
                msg = f"{kek} has no such version"
                raise KeyNotFound(msg)
            if version == max(versions, key=int):
                msg = f"version {version} is the one that {kek} wraps with; rotate it first"
                raise InvalidRequest(msg)
            for key in versions[version]:
                key.destroy()

        await self._run(job, kek)

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Destroy the keys of all versions on the token. A backup of the token still has them."""

        def job(session: pkcs11.Session) -> KekInfo:
            for keys in self._token.keys(session, kek.key_id).values():
                for key in keys:
                    key.destroy()
            return KekInfo(kek, "destroyed", "", ())

        return await self._run(job, kek)

    async def check(self) -> str:
        """Log in, and check that the token has the mechanism."""

        def job(_session: pkcs11.Session) -> str:
            token = self._token.find()
            mechanism = self._wrapping.mechanism
            if mechanism not in token.slot.get_mechanisms():
                msg = f"{self._id}: the token has no {mechanism.name}"
                raise UnsupportedOperation(msg)
            tried = "; wrong PINs were tried on it" if token.flags & pkcs11.TokenFlag.USER_PIN_COUNT_LOW else ""
            return f"{token.manufacturer_id.strip()} {token.model.strip()}, logged in, has {mechanism.name}{tried}"

        return await self._run(job, None)

    async def aclose(self) -> None:
        """Close the session."""
        with suppress(KmsError):  # the session belongs to a forked parent, or the token hangs
            await self._module.run(self._token.close, seconds=self._timeout, what=self._id)

    async def _run(self, job: Callable[[pkcs11.Session], T], kek: KekRef | None) -> T:
        what = str(kek or self._id)
        return await self._module.run(lambda: self._token.use(job, what), seconds=self._timeout, what=what)

    def _add(self, session: pkcs11.Session, kek: KekRef, version: int) -> None:
        kept = {_ATTRIBUTE.PRIVATE: True, _ATTRIBUTE.SENSITIVE: True, _ATTRIBUTE.EXTRACTABLE: False}
        session.generate_key(
            pkcs11.KeyType.AES,
            8 * ROOT_BYTES,
            id=version.to_bytes(_ID_BYTES),
            label=kek.key_id,
            store=True,
            capabilities=self._wrapping.uses,
            template=kept | {_ATTRIBUTE.MODIFIABLE: False},
        )

    def _unwrap(self, session: pkcs11.Session, wrapped: Wrapped, context: Mapping[str, str]) -> Secret:
        digits = wrapped.kek_version
        version = int(digits) if digits.isdecimal() and len(digits) <= _VERSION_DIGITS else 0
        versions = self._token.keys(session, wrapped.kek.key_id)
        if str(version) != digits or version not in versions:
            msg = f"{wrapped.kek}: the token has no version {version} of this KEK"
            raise KeyNotFound(msg)
        bound = associated_data(_WRAP_LABEL, wrapped.kek.key_id, version, context)
        for key in versions[version]:  # several keys if two processes rotated at once
            with suppress(*DOES_NOT_OPEN):
                root = self._wrapping.unwrap(key, wrapped.ciphertext, bound)
                if len(root) == ROOT_BYTES:
                    return Secret(root)
        for key in versions[version]:
            self._wrapping.probe(key)  # raises the token's error if the token itself fails
        raise IntegrityError


def _check_kept(key: pkcs11.SecretKey, kek: KekRef) -> None:
    if key[_ATTRIBUTE.EXTRACTABLE] or not key[_ATTRIBUTE.SENSITIVE]:
        msg = f"{kek}: the key may leave its token; create a key that is sensitive and not extractable"
        raise UnsupportedOperation(msg)
