"""The provider for Google Cloud KMS (gcp_kms.md). Symmetric keys wrap the roots and never leave Cloud KMS."""

from __future__ import annotations

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import google_crc32c
import orjson
from google.cloud.kms_v1.types import resources, service

from strongroom.kms.errors import IntegrityError, InvalidRequest, KeyNotFound, KmsError, StrongroomError
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped
from strongroom.kms.secret import Secret

from .channel import GcpChannel
from .errors import damaged
from .keys import KEY_RING, GcpKeys, key_name, location_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from google.auth.credentials import Credentials

_ENDPOINT = "https://cloudkms.googleapis.com"
_DEADLINE = 3.0  # 1 s for the connection and 2 s for the answer
_ROOT_BYTES = 32
_AT_ONCE = 16

_KEY_RING = re.compile(KEY_RING)
_SHORT = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[1-9][0-9]{0,18}")
_ANSWERED = re.compile(r"projects/[^/]+(?P<key>/.+)/cryptoKeyVersions/(?P<version>[1-9][0-9]{0,18})")
_LEVELS = {"software": resources.ProtectionLevel.SOFTWARE, "hsm": resources.ProtectionLevel.HSM}


class GcpKmsProvider:
    """A provider that wraps with Encrypt and Decrypt of Cloud KMS. The encryption context is additional authenticated data.

    Cloud KMS generates no data keys, so roots are generated in this process. A re-wrap is a Decrypt and an Encrypt.

    Args:
        provider_id: The id of this provider in the registry and in KEK URIs.
        key_ring: The key ring for new keys, `projects/P/locations/L/keyRings/R`. It must exist.
        credentials: Credentials of google-auth. None means the application default credentials.
        protection_level: The protection level of new keys.
        endpoint: The https URL.
        ca_certs: The PEM file of the trusted authorities. None means those of gRPC.
        deadline: The seconds that one call may take, including its connection.
        insecure: Whether http is accepted, for this machine only. Default credentials are not used over http.

    Raises:
        InvalidRequest: The key ring or the endpoint is malformed, or the file can't be read.
    """

    capabilities = Capabilities(context="native", rewrap="client", batch=200, deletion="scheduled", rotates_slowly=True)

    def __init__(
        self,
        provider_id: str,
        *,
        key_ring: str,
        credentials: Credentials | None = None,
        protection_level: Literal["software", "hsm"] = "software",
        endpoint: str = _ENDPOINT,
        ca_certs: Path | None = None,
        deadline: float = _DEADLINE,
        insecure: bool = False,
    ) -> None:
        if _KEY_RING.fullmatch(key_ring) is None:
            msg = f"{provider_id}: a key ring is named projects/P/locations/L/keyRings/R"
            raise InvalidRequest(msg)
        if protection_level not in _LEVELS:
            msg = f"{provider_id}: a protection level is one of {', '.join(_LEVELS)}"
            raise InvalidRequest(msg)
        self._id = provider_id
        self._key_ring = key_ring
        self._level = _LEVELS[protection_level]
        self._channel = GcpChannel(
            endpoint, credentials=credentials, ca_certs=ca_certs, deadline=deadline, insecure=insecure
        )
        self._keys = GcpKeys(self._channel)

    def __repr__(self) -> str:
        return f"GcpKmsProvider({self._id!r}, key_ring={self._key_ring!r}, target={self._channel.target!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has credentials"
        raise TypeError(msg)

    def regions(self, kek: KekRef) -> frozenset[str | None]:
        """Return the location in the key's resource name."""
        return frozenset((location_of(kek.key_id, self._key_ring),))

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a new random root key and its wrapped form."""
        root = Secret(os.urandom(_ROOT_BYTES))
        return GeneratedKey(root, await self.wrap(kek, root, context=context))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version, which the answer names."""
        bound = _bound(context)
        request = service.EncryptRequest(
            name=key_name(kek),
            plaintext=root.reveal(),
            plaintext_crc32c=_crc(root.reveal()),
            additional_authenticated_data=bound,
            additional_authenticated_data_crc32c=_crc(bound),
        )
        answer = await self._use(request, kek, "")
        named = _ANSWERED.fullmatch(answer.name)
        whole = (
            answer.verified_plaintext_crc32c
            and answer.verified_additional_authenticated_data_crc32c
            and answer.ciphertext_crc32c == _crc(answer.ciphertext)
        )
        if named is None or not kek.key_id.endswith(named["key"]) or not whole:
            raise damaged(str(kek))
        return Wrapped(kek, named["version"], answer.ciphertext)

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap a root with the KEK that the wrapped key names. The ciphertext itself names the version."""
        bound = _bound(context)
        request = service.DecryptRequest(
            name=key_name(wrapped.kek),
            ciphertext=wrapped.ciphertext,
            ciphertext_crc32c=_crc(wrapped.ciphertext),
            additional_authenticated_data=bound,
            additional_authenticated_data_crc32c=_crc(bound),
        )
        if _NUMBER.fullmatch(wrapped.kek_version) is None:
            raise IntegrityError
        answer = await self._use(request, wrapped.kek, wrapped.kek_version)
        if answer.plaintext_crc32c != _crc(answer.plaintext):
            raise damaged(str(wrapped.kek))
        if len(answer.plaintext) != _ROOT_BYTES:
            raise IntegrityError
        return Secret(answer.plaintext)

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order, with one request each and 16 at a time. An error is returned in place of its root."""
        turns = asyncio.Semaphore(_AT_ONCE)

        async def answer(wrapped: Wrapped, context: Mapping[str, str]) -> Secret | StrongroomError:
            async with turns:
                try:
                    return await self.unwrap(wrapped, context=context)
                except (KmsError, IntegrityError) as error:
                    return error

        return await asyncio.gather(*(answer(wrapped, context) for wrapped, context in items))

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's primary version."""
        return await self.wrap(kek, await self.unwrap(wrapped, context=context), context=context)

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions of a KEK."""
        return await self._keys.describe(kek)

    async def create_kek(self, key_id: str) -> KekRef:
        """Create a key in the key ring, by its short or its full name. An existing key is not changed.

        Raises:
            InvalidRequest: It is not a name of a key in this key ring.
            UnsupportedOperation: The existing key is not a symmetric key for encryption.
        """
        short = key_id.removeprefix(f"{self._key_ring}/cryptoKeys/")
        if _SHORT.fullmatch(short) is None:
            msg = f"{self._id}: a new key of {self._key_ring} is named with up to 63 letters, digits, - and _"
            raise InvalidRequest(msg)
        kek = KekRef(self._id, f"{self._key_ring}/cryptoKeys/{short}")
        await self._keys.create(kek, self._key_ring, short, self._level)
        return kek

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a key and make it primary. Some servers of Cloud KMS may wrap with the old one for a while."""
        return await self._keys.rotate(kek)

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """Schedule the destruction of an old version. It unwraps nothing from then on, unless a person restores it."""
        if _NUMBER.fullmatch(version) is None:
            msg = f"{kek} has no such version"
            raise KeyNotFound(msg)
        await self._keys.retire(kek, version)

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Schedule the destruction of all versions of a key, and remove its rotation schedule, which would add versions.

        Raises:
            KeyConflict: Another caller added a version at the same time.
        """
        return await self._keys.delete(kek)

    async def check(self) -> str:
        """Read the key ring."""
        ring = await self._channel.call(service.GetKeyRingRequest(name=self._key_ring), self._key_ring)
        return f"the key ring {ring.name} exists"

    async def aclose(self) -> None:
        """Close the connection."""
        await self._channel.aclose()

    async def _use(self, request: Any, kek: KekRef, version: str) -> Any:
        """Send an Encrypt or a Decrypt. If a refusal does not name the state of the version, look it up."""
        try:
            return await self._channel.call(request, str(kek))
        except InvalidRequest as error:
            refused: KmsError = error
            if error.provider_code == "FAILED_PRECONDITION":
                refused = await self._keys.why(kek, version) or error
        raise refused


def _bound(context: Mapping[str, str]) -> bytes:
    """Return the canonical encryption context: JSON, sorted by name."""
    return orjson.dumps(dict(context), option=orjson.OPT_SORT_KEYS)


def _crc(data: bytes) -> int:
    return int(google_crc32c.value(data))
