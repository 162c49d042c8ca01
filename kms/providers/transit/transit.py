"""The Transit engine of OpenBao and Vault, over its HTTP API, with derived keys (transit.md).

A derived key binds the encryption context. Other keys ignore the context without an error, so they are refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import orjson

from strongroom.kms.errors import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyNotFound,
    KmsError,
    KmsUnavailable,
    StrongroomError,
    UnsupportedOperation,
)
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped
from strongroom.kms.secret import Secret

from .client import CONNECTIONS, TransitClient, error_of, field

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

_ROOT_BYTES = 32
_BATCH = 200  # the server allows 1,000 strings in a request, and thus 249 items with a context each
_KEY_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")  # the engine's own rule
_WRAPPED = re.compile(rb"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]+={0,2}")


class TransitProvider:
    """A provider for a Transit engine. During a re-wrap the root does not leave the server.

    Args:
        provider_id: The id of this provider in the registry and in KEK URIs.
        address: The server's URL, https.
        token: Returns the token for each request, for example from a file that an agent renews.
        mount: The path of the engine.
        namespace: The namespace on the server, if it has namespaces.
        tls: The TLS context. None means the system's authorities.
        insecure: Whether http is accepted, for this machine only.
        region: The server's region. With None no cell that is bound to a region uses the provider.

    Raises:
        InvalidRequest: The address is neither https nor accepted by `insecure`.
    """

    capabilities = Capabilities(context="native", rewrap="server", batch=_BATCH, deletion="immediate")

    def __init__(
        self,
        provider_id: str,
        address: str,
        *,
        token: Callable[[], str],
        mount: str = "transit",
        namespace: str | None = None,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        region: str | None = None,
    ) -> None:
        self._id = provider_id
        self._region = region
        self._mount = mount.strip("/")
        self._client = TransitClient(provider_id, address, token=token, namespace=namespace, tls=tls, insecure=insecure)

    def __repr__(self) -> str:
        return f"TransitProvider({self._id!r}, {self._client.address!r}, mount={self._mount!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has a token"
        raise TypeError(msg)

    def regions(self, kek: KekRef) -> frozenset[str | None]:  # noqa: ARG002 - all KEKs are in one region
        """Return the server's region from the configuration."""
        return frozenset((self._region,))

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Return a root key that the server generated and wrapped."""
        await self._check_derived(kek)
        body = {"context": _context(context), "bits": 8 * _ROOT_BYTES}
        data = await self._post("datakey/plaintext", kek, body)
        root = _root(field(data, "plaintext", str, str(kek)))
        if isinstance(root, StrongroomError):
            raise root
        return GeneratedKey(root, _wrapped(kek, data))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version."""
        await self._check_derived(kek)  # encrypting with a missing key would create it
        body = {"plaintext": base64.b64encode(root.reveal()).decode(), "context": _context(context)}
        return _wrapped(kek, await self._post("encrypt", kek, body))

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap a root with the KEK and version that the wrapped key names."""
        (answer,) = await self.unwrap_many([(wrapped, context)])
        if isinstance(answer, StrongroomError):
            raise answer
        return answer

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several roots, in order, with one request for each KEK and 200 items. An error is returned in place of its root.

        If the server does not answer, items that were not sent yet get the same error.
        """
        answers: dict[int, Secret | StrongroomError] = {}
        by_kek: dict[KekRef, list[int]] = {}
        for index, (wrapped, _) in enumerate(items):
            if _names_its_version(wrapped):
                by_kek.setdefault(wrapped.kek, []).append(index)
            else:
                answers[index] = IntegrityError()
        free = asyncio.Semaphore(CONNECTIONS)
        down: list[KmsError] = []

        async def unwrap_chunk(kek: KekRef, indexes: list[int]) -> None:
            async with free:
                try:
                    if down:
                        raise down[0]
                    found = await self._unwrap_with(kek, [items[index] for index in indexes])
                except KmsError as error:
                    found = [error] * len(indexes)
                    down.extend([error] if error.retryable else [])
            answers.update(zip(indexes, found, strict=True))

        await asyncio.gather(
            *(
                unwrap_chunk(kek, indexes[start : start + _BATCH])
                for kek, indexes in by_kek.items()
                for start in range(0, len(indexes), _BATCH)
            )
        )
        return [answers[index] for index in range(len(items))]

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root again under the KEK's primary version, in the server unless it is another KEK."""
        if kek != wrapped.kek:
            return await self.wrap(kek, await self.unwrap(wrapped, context=context), context=context)
        if not _names_its_version(wrapped):
            raise IntegrityError
        await self._check_derived(kek)
        return _wrapped(kek, await self._post("rewrap", kek, _to_open(wrapped, context)))

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return the state and the versions of a KEK."""
        data = await self._read(kek)
        oldest = field(data, "min_decryption_version", int, str(kek))
        latest = field(data, "latest_version", int, str(kek))
        versions = tuple(str(version) for version in range(max(oldest, 1), latest + 1))
        trimmed = field(data, "min_available_version", int, str(kek)) if "min_available_version" in data else 0
        kept = tuple(str(version) for version in range(max(trimmed, 1), oldest))
        state: Literal["disabled", "enabled"] = "disabled" if data.get("soft_deleted") else "enabled"
        return KekInfo(kek, state, str(latest), versions, kept=kept)

    async def create_kek(self, key_id: str) -> KekRef:
        """Create a derived key. An existing key is not changed."""
        kek = KekRef(self._id, key_id)
        try:
            await self._check_derived(kek)
        except KeyNotFound:
            await self._post("keys", kek, {"type": "aes256-gcm96", "derived": True})
            await self._check_derived(kek)  # another caller may have created it first
        return kek

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a key, which wraps from then on. Older versions still unwrap."""
        await self._read(kek)
        await self._client.request("POST", self._path("keys", kek) + "/rotate", {}, what=str(kek))
        return (await self.describe(kek)).primary_version

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """Raise the key's `min_decryption_version` above the oldest version, and trim the version if the token has the right to.

        Trimming deletes the version. Without the right to trim, the version stays, and a person who
        may configure the key can lower the bound again. If only the trim failed, another call repeats it.

        Raises:
            UnsupportedOperation: An older version still unwraps, and the engine has only a lower bound.
        """
        info = await self.describe(kek)
        if version not in (*info.kept, *info.versions):
            msg = f"{kek} has no such version, or it is retired"
            raise KeyNotFound(msg)
        if version == info.primary_version:
            msg = f"version {version} is the one that {kek} wraps with; rotate it first"
            raise InvalidRequest(msg)
        if version in info.versions[1:]:
            msg = f"{kek}: Transit retires the oldest version first, which is {info.versions[0]}"
            raise UnsupportedOperation(msg)
        oldest, path = int(version) + 1, self._path("keys", kek)
        if version not in info.kept:
            body = {"min_decryption_version": oldest, "min_encryption_version": oldest}  # a trim needs both
            await self._client.request("POST", f"{path}/config", body, what=str(kek))
        with suppress(AccessDenied, InvalidRequest, UnsupportedOperation):  # the bound alone retires it too
            await self._client.request("POST", f"{path}/trim", {"min_available_version": oldest}, what=str(kek))

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Delete a key after setting its `deletion_allowed`. The token's policy must allow both."""
        await self._read(kek)
        path = self._path("keys", kek)
        await self._client.request("POST", f"{path}/config", {"deletion_allowed": True}, what=str(kek))
        await self._client.request("DELETE", path, what=str(kek))
        return KekInfo(kek, "destroyed", "", ())

    async def check(self) -> str:
        """Check the server's health, and whether encrypting with a missing key would create it."""
        state = f"version {await self._client.version()}, unsealed"
        try:
            data = await self._client.request("GET", f"{self._mount}/config/keys", what=self._id)
        except (AccessDenied, KeyNotFound, UnsupportedOperation):
            return f"{state}; whether disable_upsert is set may not be read, nor whether its Transit engine is at {self._mount}"
        return f"{state}; disable_upsert is {'set' if data.get('disable_upsert') else 'NOT set, see transit.md'}"

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _unwrap_with(
        self, kek: KekRef, items: Sequence[tuple[Wrapped, Mapping[str, str]]]
    ) -> list[Secret | StrongroomError]:
        batch = [_to_open(wrapped, context) for wrapped, context in items]
        data = await self._post("decrypt", kek, {"batch_input": batch, "partial_failure_response_code": 200})
        results = field(data, "batch_results", list, str(kek))
        if len(results) != len(items) or not all(isinstance(result, dict) for result in results):
            msg = f"{kek}: {len(items)} wrapped keys were sent, and no result for each came back"
            raise KmsUnavailable(msg)
        return [
            error_of(str(result["error"]), str(kek), status=400)
            if result.get("error")
            else _root(field(result, "plaintext", str, str(kek)))
            for result in results
        ]

    async def _check_derived(self, kek: KekRef) -> None:
        data = await self._read(kek)
        if data.get("derived") is not True:
            msg = f"{kek} is not a derived key, so it would ignore the encryption context; make one with derived=true"
            raise UnsupportedOperation(msg)

    async def _read(self, kek: KekRef) -> dict[str, Any]:
        return await self._client.request("GET", self._path("keys", kek), what=str(kek))

    async def _post(self, operation: str, kek: KekRef, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._client.request("POST", self._path(operation, kek), body, what=str(kek))

    def _path(self, operation: str, kek: KekRef) -> str:
        return f"{self._mount}/{operation}/{_name(kek)}"


def _name(kek: KekRef) -> str:
    if _KEY_NAME.fullmatch(kek.key_id) is None:
        msg = (
            f"{kek.provider}: the name of a Transit key must have letters, digits and _, and between them also . and -"
        )
        raise InvalidRequest(msg)
    return kek.key_id


def _context(context: Mapping[str, str]) -> str:
    return base64.b64encode(orjson.dumps(dict(context), option=orjson.OPT_SORT_KEYS)).decode()


def _to_open(wrapped: Wrapped, context: Mapping[str, str]) -> dict[str, str]:
    return {"ciphertext": wrapped.ciphertext.decode("ascii"), "context": _context(context)}


def _names_its_version(wrapped: Wrapped) -> bool:
    match = _WRAPPED.fullmatch(wrapped.ciphertext)
    return match is not None and match[1].decode() == wrapped.kek_version


def _wrapped(kek: KekRef, data: Mapping[str, Any]) -> Wrapped:
    ciphertext = field(data, "ciphertext", str, str(kek)).encode()
    match = _WRAPPED.fullmatch(ciphertext)
    if match is None:
        msg = f"{kek}: the server wrapped the key in a form that is not Transit's"
        raise KmsUnavailable(msg)
    return Wrapped(kek, match[1].decode(), ciphertext)


def _root(text: str) -> Secret | StrongroomError:
    try:
        material = base64.b64decode(text, validate=True)
    except binascii.Error:
        return IntegrityError()
    return Secret(material) if len(material) == _ROOT_BYTES else IntegrityError()
