"""OpenBao's and Vault's Transit engine, over its HTTP API, with derived keys (transit.md beside this file).

A derived key binds the encryption context; an ordinary one ignores it in silence, so it is refused. The engine gives
no error codes, so texts are matched; `tests/providers` pins them on the real binary.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote

import httpx
import orjson

from strongroom.kms.errors import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyDisabled,
    KeyNotFound,
    KmsError,
    StrongroomError,
    Throttled,
    Timeout,
    Unauthenticated,
    Unavailable,
    UnsupportedOperation,
)
from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KekRef, Wrapped
from strongroom.kms.secret import Secret
from strongroom.kms.tls import check_address, client_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    Token = Callable[[], str]

_CONNECT_SECONDS = 1.0
_READ_SECONDS = 2.0
_ROOT_BYTES = 32
_BATCH = 200  # the server's own bound on strings in a request (1,000) refuses more than 249 with a context each
_HEALTHY_STATUS = {200, 429, 472, 473}  # active, or a standby that passes requests on
_TOO_MANY, _SERVER_ERROR, _NOT_FOUND, _FORBIDDEN = 429, 500, 404, 403

# What the server says when a key, or what it wrapped, can't be used; looked for in this order.
_TEXTS: tuple[tuple[str, type[StrongroomError]], ...] = (
    ("message authentication failed", IntegrityError),
    ("invalid ciphertext", IntegrityError),
    ("encryption key not found", KeyNotFound),
    ("disallowed by policy (too old)", KeyDisabled),
    ("soft-deleted", KeyDisabled),
    ("deletion is not allowed", UnsupportedOperation),
    ("no handler for route", InvalidRequest),
    ("invalid token", Unauthenticated),
    ("bad token", Unauthenticated),
    ("missing client token", Unauthenticated),
)


class TransitProvider:
    """Wraps by a Transit engine: no root leaves the server but to be used, and a re-wrap leaves it not at all.

    Args:
        provider_id: as the registry and the KEK URIs name this provider.
        address: of the server, https; http is accepted for this machine only.
        token: returns the token of each request; a file that an agent renews is read anew.
        mount: path of the engine.
        namespace: of the server's namespaces, where it has them.
        tls: what to connect with; the system's authorities if None.

    Raises:
        InvalidRequest: the address is not https.
    """

    capabilities = Capabilities(context="native", rewrap="server", batch=_BATCH, deletion="immediate")

    def __init__(
        self,
        provider_id: str,
        address: str,
        *,
        token: Token,
        mount: str = "transit",
        namespace: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        check_address(address)
        self._id = provider_id
        self._token = token
        self._mount = mount.strip("/")
        self._client = httpx.AsyncClient(
            base_url=address.rstrip("/") + "/v1/",
            headers={"X-Vault-Request": "true"} | ({"X-Vault-Namespace": namespace} if namespace else {}),
            timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
            verify=tls or client_context(),
            trust_env=False,  # a proxy from the environment would see roots
            follow_redirects=False,  # nor does a token follow to another server
        )

    def __repr__(self) -> str:
        return f"TransitProvider({self._id!r}, {str(self._client.base_url)!r}, mount={self._mount!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider holds a token and is not pickled"
        raise TypeError(msg)

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """Have the server draw a root key and wrap it."""
        await self._check_derived(kek)
        body = {"context": _context(context), "bits": 8 * _ROOT_BYTES}
        data = await self._post(f"datakey/plaintext/{_name(kek)}", body, kek)
        root = _root(data["plaintext"])
        if isinstance(root, StrongroomError):
            raise root
        return GeneratedKey(root, _wrapped(kek, data["ciphertext"]))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap a root key under the KEK's primary version."""
        await self._check_derived(kek)  # encrypting with a key that is not there would make one
        body = {"plaintext": base64.b64encode(root.reveal()).decode(), "context": _context(context)}
        return _wrapped(kek, (await self._post(f"encrypt/{_name(kek)}", body, kek))["ciphertext"])

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """Unwrap with the very KEK and version that the wrapped key names."""
        (answer,) = await self.unwrap_many([(wrapped, context)])
        if isinstance(answer, StrongroomError):
            raise answer
        return answer

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """Unwrap several, in order, one request for each KEK; what fails for one is returned in its place."""
        answers: dict[int, Secret | StrongroomError] = {}
        by_kek: dict[KekRef, list[int]] = {}
        for index, (wrapped, _) in enumerate(items):
            if not wrapped.ciphertext.startswith(_prefix(wrapped.kek_version)):
                answers[index] = IntegrityError()
            else:
                by_kek.setdefault(wrapped.kek, []).append(index)
        for kek, indexes in by_kek.items():
            try:
                found: Sequence[Secret | StrongroomError] = await self._unwrap_with(kek, [items[i] for i in indexes])
            except KmsError as error:
                found = [error] * len(indexes)
            answers.update(zip(indexes, found, strict=True))
        return [answers[index] for index in range(len(items))]

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """Wrap the same root anew under the KEK's primary version, in the server unless it is another KEK."""
        if kek != wrapped.kek:
            return await self.wrap(kek, await self.unwrap(wrapped, context=context), context=context)
        if not wrapped.ciphertext.startswith(_prefix(wrapped.kek_version)):
            raise IntegrityError
        body = {"ciphertext": wrapped.ciphertext.decode("ascii", "replace"), "context": _context(context)}
        return _wrapped(kek, (await self._post(f"rewrap/{_name(kek)}", body, kek))["ciphertext"])

    async def describe(self, kek: KekRef) -> KekInfo:
        """Return state and versions of a KEK."""
        data = await self._read(kek)
        oldest, latest = data["min_decryption_version"], data["latest_version"]
        versions = tuple(str(version) for version in range(max(oldest, 1), latest + 1))
        return KekInfo(kek, "disabled" if data.get("soft_deleted") else "enabled", str(latest), versions)

    async def create_kek(self, key_id: str) -> KekRef:
        """Make a derived key; an existing one is left as it is."""
        kek = KekRef(self._id, key_id)
        await self._post(f"keys/{_name(kek)}", {"type": "aes256-gcm96", "derived": True}, kek)
        await self._check_derived(kek)
        return kek

    async def rotate_kek(self, kek: KekRef) -> str:
        """Add a version to a key, which wraps from now on; older versions still unwrap."""
        await self._read(kek)
        await self._post(f"keys/{_name(kek)}/rotate", {}, kek)
        return (await self.describe(kek)).primary_version

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """Delete a key; sets its `deletion_allowed` first, for which the token's policy must have the right."""
        await self._read(kek)
        await self._post(f"keys/{_name(kek)}/config", {"deletion_allowed": True}, kek)
        await self._request("DELETE", f"{self._mount}/keys/{_name(kek)}", None, str(kek))
        return KekInfo(kek, "destroyed", "", ())

    async def check(self) -> str:
        """Ask the server for its health, and whether encrypting with a missing key would make one."""
        health = await self._send("GET", "sys/health", None)
        if health.status_code not in _HEALTHY_STATUS:
            msg = f"{self._id}: the server at {self._client.base_url.host} is sealed, or not initialised"
            raise Unavailable(msg, provider_code=str(health.status_code))
        said = f"version {_parsed(health).get('version', 'unknown')}, unsealed"
        try:
            data = await self._request("GET", f"{self._mount}/config/keys", None, self._id)
        except (AccessDenied, KeyNotFound):
            return f"{said}; whether disable_upsert is set may not be read"
        return f"{said}; disable_upsert is {'set' if data.get('disable_upsert') else 'NOT set, see transit.md'}"

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _unwrap_with(
        self, kek: KekRef, items: Sequence[tuple[Wrapped, Mapping[str, str]]]
    ) -> list[Secret | StrongroomError]:
        batch = [
            {"ciphertext": wrapped.ciphertext.decode("ascii", "replace"), "context": _context(context)}
            for wrapped, context in items
        ]
        body = {"batch_input": batch, "partial_failure_response_code": 200}
        data = await self._post(f"decrypt/{_name(kek)}", body, kek)
        return [
            _error(result["error"], str(kek)) if result.get("error") else _root(result["plaintext"])
            for result in data["batch_results"]
        ]

    async def _check_derived(self, kek: KekRef) -> None:
        data = await self._read(kek)
        if not data.get("derived"):
            msg = f"{kek} is not a derived key, so it would ignore the encryption context; make one with derived=true"
            raise UnsupportedOperation(msg)

    async def _read(self, kek: KekRef) -> dict[str, Any]:
        return await self._request("GET", f"{self._mount}/keys/{_name(kek)}", None, str(kek))

    async def _post(self, path: str, body: Mapping[str, Any], kek: KekRef) -> dict[str, Any]:
        return await self._request("POST", f"{self._mount}/{path}", body, str(kek))

    async def _request(self, method: str, path: str, body: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
        answer = await self._send(method, path, body)
        parsed = _parsed(answer)
        data = parsed.get("data") or {}
        if answer.is_success or "batch_results" in data:  # a batch of which all fail is a 400 all the same
            return data
        text = "; ".join(str(error) for error in parsed.get("errors") or ())
        raise _error(text, what, answer)

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> httpx.Response:
        headers = {"X-Vault-Token": self._token()}
        content = None if body is None else orjson.dumps(body)
        try:
            return await self._client.request(method, path, content=content, headers=headers)
        except httpx.TimeoutException as error:
            msg = f"{self._id}: no answer in time ({type(error).__name__})"
        except httpx.HTTPError as error:
            msg = f"{self._id}: {self._client.base_url.host} can't be reached ({type(error).__name__})"
            raise Unavailable(msg) from None  # the request that hangs on theirs holds the token
        raise Timeout(msg)


def _error(text: str, what: str, answer: httpx.Response | None = None) -> StrongroomError:
    """Map what the server says to our tree; its text names keys, policies and paths, never a value."""
    status = 400 if answer is None else answer.status_code
    lowered = text.lower()
    for fragment, kind in _TEXTS:
        if fragment in lowered:
            return kind() if kind is IntegrityError else kind(f"{what}: {text}")
    by_status: dict[int, type[KmsError]] = {_NOT_FOUND: KeyNotFound, _FORBIDDEN: AccessDenied, _TOO_MANY: Throttled}
    kind = by_status.get(status, Unavailable if status >= _SERVER_ERROR else InvalidRequest)
    return kind(
        f"{what}: {text.strip() or kind.__doc__} ({status})",
        retry_after=_retry_after(answer),
        provider_code=str(status),
    )


def _retry_after(answer: httpx.Response | None) -> float | None:
    given = None if answer is None else answer.headers.get("Retry-After")
    return float(given) if given is not None and given.isdecimal() else None


def _parsed(answer: httpx.Response) -> dict[str, Any]:
    try:
        parsed = orjson.loads(answer.content or b"{}")
    except orjson.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {}


def _name(kek: KekRef) -> str:
    return quote(kek.key_id, safe="")


def _context(context: Mapping[str, str]) -> str:
    return base64.b64encode(orjson.dumps(dict(context), option=orjson.OPT_SORT_KEYS)).decode()


def _prefix(version: str) -> bytes:
    return f"vault:v{version}:".encode()


def _wrapped(kek: KekRef, ciphertext: str) -> Wrapped:
    return Wrapped(kek, ciphertext.split(":", 2)[1].removeprefix("v"), ciphertext.encode())


def _root(text: str) -> Secret | StrongroomError:
    try:
        return Secret(base64.b64decode(text, validate=True))
    except binascii.Error:
        return IntegrityError()
