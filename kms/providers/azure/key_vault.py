"""The provider for Azure Key Vault and Managed HSM (azure_key_vault.md). The service wraps and unwraps under a named version."""

from __future__ import annotations

import asyncio
import base64
import os
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NoReturn
from urllib.parse import urlsplit

from strongroom.kms.errors import (
    IntegrityError,
    InvalidRequest,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsError,
    KmsUnavailable,
    StrongroomError,
)
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped
from strongroom.kms.secret import Secret

from .client import CONNECT_SECONDS, READ_SECONDS, Vault, default_credential
from .keys import VERSION, attributes_of, unusable, version_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from azure.core.credentials_async import AsyncTokenCredential

Algorithm = Literal["RSA-OAEP-256", "A256KW"]

_ROOT_BYTES = 32
_BATCH = 100
_MAKING_SECONDS = 30.0  # an HSM takes long to generate an RSA key
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_NEW_KEY: dict[Algorithm, dict[str, Any]] = {
    "RSA-OAEP-256": {"kty": "RSA", "key_size": 3072},
    "A256KW": {"kty": "oct-HSM", "key_size": 256},
}


class AzureKeyVaultProvider:
    """A provider for one vault or HSM, with wrapKey and unwrapKey. A KEK's id is the name of a key there.

    Args:
        provider_id: The id of this provider in the registry and in KEK URIs.
        vault_url: The URL, `https://NAME.vault.azure.net` or `https://NAME.managedhsm.azure.net`.
        credential: The source of tokens, closed with the provider. None means the default credential of the environment.
        algorithm: `RSA-OAEP-256` for RSA keys, `A256KW` for the AES keys of a Managed HSM.
        tls: The TLS context. None means the system's authorities and TLS 1.3.
        connect_seconds: The timeout of a connection, in seconds.
        read_seconds: The timeout of an answer, in seconds.
        region: The vault's region. With None no cell that is bound to a region uses the provider.

    Raises:
        InvalidRequest: The URL or the algorithm is invalid.
    """

    capabilities = Capabilities(context="commitment", rewrap="client", batch=_BATCH, deletion="scheduled")

    def __init__(
        self,
        provider_id: str,
        vault_url: str,
        *,
        credential: AsyncTokenCredential | None = None,
        algorithm: Algorithm = "RSA-OAEP-256",
        tls: ssl.SSLContext | None = None,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        region: str | None = None,
    ) -> None:
        if algorithm not in _NEW_KEY:
            msg = f"{provider_id}: the algorithm is RSA-OAEP-256, or A256KW in a Managed HSM"
            raise InvalidRequest(msg)
        self._id = provider_id
        self._algorithm = algorithm
        self._region = region
        self._vault = Vault(
            provider_id,
            vault_url,
            credential=credential or default_credential(),
            tls=tls,
            connect_seconds=connect_seconds,
            read_seconds=read_seconds,
        )

    def __repr__(self) -> str:
        return f"AzureKeyVaultProvider({self._id!r}, {self._vault.host!r}, algorithm={self._algorithm!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has a credential"
        raise TypeError(msg)

    def regions(self, kek: KekRef) -> frozenset[str | None]:  # noqa: ARG002 - all KEKs are in one region
        """Return the vault's region from the configuration."""
        return frozenset((self._region,))

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Generate a root key in this process, because the service has no call for it, and wrap it."""
        root = Secret(os.urandom(_ROOT_BYTES))
        return GeneratedKey(root, await self.wrap(kek, root, context=context))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:  # noqa: ARG002
        """Wrap a root key under the KEK's current version. The context is not sent; Strongroom's commitment binds it."""
        key = await self._ask("GET", kek)
        reason = unusable(key)
        if reason is not None:  # checked here too, because wrapping with RSA needs only the public key
            msg = f"{kek} {reason}"
            raise KeyDisabled(msg)
        version = version_of(key)
        sealed = await self._use(kek, version, "wrapkey", root.reveal())
        if len(sealed) <= _ROOT_BYTES:
            msg = f"{kek}: the vault's answer holds no wrapped key"
            raise KmsUnavailable(msg)
        return Wrapped(kek, version, sealed)

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:  # noqa: ARG002
        """Unwrap a root with the KEK and version that the wrapped key names."""
        _name(wrapped.kek)
        if not VERSION.fullmatch(wrapped.kek_version):
            raise IntegrityError
        try:
            content = await self._use(wrapped.kek, wrapped.kek_version, "unwrapkey", wrapped.ciphertext)
        except InvalidRequest:
            content = b""
        except KeyNotFound:
            await self._ask("GET", wrapped.kek)  # raises unless the key exists and only the version is missing
            content = b""
        if len(content) != _ROOT_BYTES:
            raise IntegrityError
        return Secret(content)

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order and concurrently. An error is returned in place of its root."""
        return await asyncio.gather(*(self._answer(wrapped, context) for wrapped, context in items))

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's current version."""
        return await self.wrap(kek, await self.unwrap(wrapped, context=context), context=context)

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions of a KEK, even if it is deleted but not yet purged.

        `versions` has all enabled versions, even expired ones, because these still unwrap. The state is that of the current
        version. It is also `disabled` if that version has expired or is not valid yet, because it then wraps nothing.
        """
        current: Mapping[str, Any] | None = None
        try:
            current = await self._vault.ask("GET", f"/keys/{_name(kek)}", str(kek))
        except KeyNotFound:
            info = await self._deleted(kek)
            if info is None:
                raise
            return info
        except KeyDisabled:
            pass  # the service may refuse to show a disabled key, but it lists its versions
        by_age = sorted(await self._versions(kek), key=lambda each: int(attributes_of(each).get("created", 0)))
        if current is None:
            current = by_age[-1] if by_age else {}
        state: Literal["enabled", "disabled"] = "enabled" if unusable(current) is None else "disabled"
        enabled = tuple(version_of(each) for each in by_age if attributes_of(each).get("enabled", True))
        return KekInfo(kek, state, version_of(current), enabled)

    async def create_kek(self, key_id: str) -> KekRef:
        """Create a key that may only wrap and unwrap. An existing key is not changed."""
        kek = KekRef(self._id, key_id)
        try:
            await self._ask("GET", kek)  # creating an existing key would rotate it
        except KeyNotFound:
            body = _NEW_KEY[self._algorithm] | {"key_ops": ["wrapKey", "unwrapKey"]}
            await self._ask("POST", kek, "/create", body=body, read_seconds=_MAKING_SECONDS)
        return kek

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a KEK, which becomes the primary version. Older versions still unwrap."""
        return version_of(await self._ask("POST", kek, "/rotate", read_seconds=_MAKING_SECONDS))

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """Disable an old version, because a vault can't delete one version. A person who may change keys can enable it again."""
        if not VERSION.fullmatch(version):
            msg = f"{kek} has no such version"
            raise KeyNotFound(msg)
        if version == version_of(await self._ask("GET", kek)):
            msg = f"version {version} is the one that {kek} wraps with; rotate it first"
            raise InvalidRequest(msg)
        await self._ask("PATCH", kek, f"/{version}", body={"attributes": {"enabled": False}})

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Delete a KEK. Nobody can use it from then on, but it can be recovered until the vault purges it."""
        return _pending(kek, await self._ask("DELETE", kek))

    async def check(self) -> str:
        """List one key, which shows that the vault answers and authenticates the caller."""
        await self._vault.ask("GET", "/keys?maxresults=1", self._id)
        return f"{self._vault.host} answers, its keys may be listed; wraps with {self._algorithm}"

    async def aclose(self) -> None:
        """Close the connections and the credential."""
        await self._vault.aclose()

    async def _answer(self, wrapped: Wrapped, context: Mapping[str, str]) -> Secret | StrongroomError:
        try:
            return await self.unwrap(wrapped, context=context)
        except StrongroomError as error:
            return error

    async def _use(self, kek: KekRef, version: str, operation: str, value: bytes) -> bytes:
        body = {"alg": self._algorithm, "value": base64.urlsafe_b64encode(value).rstrip(b"=").decode()}
        answer = await self._ask("POST", kek, f"/{version}/{operation}", body=body)
        text = str(answer.get("value") or "")
        try:
            return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:  # binascii.Error is one
            return b""

    async def _versions(self, kek: KekRef) -> list[dict[str, Any]]:
        versions: list[dict[str, Any]] = []
        path = f"/keys/{_name(kek)}/versions"
        while path:
            page = await self._vault.ask("GET", path, str(kek))
            items = page.get("value")
            versions += [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
            following = urlsplit(str(page.get("nextLink") or ""))
            path = (
                f"{following.path}?{following.query}" if following.path else ""
            )  # the request goes to this vault, whatever host the link has
        return versions

    async def _ask(self, method: str, kek: KekRef, rest: str = "", **options: Any) -> dict[str, Any]:
        """Send a request about a key. If the key is missing because it was deleted, raise `KeyPendingDeletion`."""
        try:
            return await self._vault.ask(method, f"/keys/{_name(kek)}{rest}", str(kek), **options)
        except KeyNotFound:
            info = await self._deleted(kek)
            if info is None:
                raise
        msg = f"{kek} is deleted, and is purged at {info.deletion_at}; until then it can be recovered"
        raise KeyPendingDeletion(msg)

    async def _deleted(self, kek: KekRef) -> KekInfo | None:
        try:
            return _pending(kek, await self._vault.ask("GET", f"/deletedkeys/{_name(kek)}", str(kek)))
        except KmsError as error:
            if error.retryable:
                raise
            return None  # not deleted, or the caller may not see deleted keys, or the vault keeps none


def _name(kek: KekRef) -> str:
    if not _NAME.fullmatch(kek.key_id):
        msg = f"{kek.provider}: a KEK is the name of a key: letters, digits and dashes, at most 127"
        raise InvalidRequest(msg)
    return kek.key_id


def _pending(kek: KekRef, deleted: Mapping[str, Any]) -> KekInfo:
    due = deleted.get("scheduledPurgeDate")
    if due is None:  # the vault has no soft-delete
        return KekInfo(kek, "destroyed", "", ())
    return KekInfo(kek, "pending_deletion", version_of(deleted), (), datetime.fromtimestamp(due, UTC))
