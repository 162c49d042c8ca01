"""A vault in this process: the part of Key Vault's REST API that the provider uses, over TLS, with Azure's errors.

Texts and codes come from the vendor's REST error page and from recorded answers in its SDKs' tests. If neither shows one
(an expired key's inner code, a Managed HSM's refusal to unwrap), it is guessed, and a comment marks the guess.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from uuid import uuid4

from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

RETENTION_SECONDS = 90 * 86400
HELP = "For help resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"
_OAEP = padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
_RSA_KEYS = 2
_numbers = itertools.count()


@cache
def _rsa_key(size, _number):
    return rsa.generate_private_key(65537, size)


def rsa_key(size):
    """Return one of two keys, in turns. Only two are made, because making one takes half a second."""
    return _rsa_key(size, next(_numbers) % _RSA_KEYS)


async def prepare(algorithm):
    """Make the keys early, so that no test waits for them."""
    if algorithm.startswith("RSA"):
        for number in range(_RSA_KEYS):
            await asyncio.to_thread(_rsa_key, 3072, number)


@dataclass
class Version:
    """A version of a key."""

    kty: str
    material: object
    size: int
    key_ops: list
    created: int
    id: str = field(default_factory=lambda: uuid4().hex)
    enabled: bool = True
    nbf: int | None = None
    exp: int | None = None

    @property
    def attributes(self):
        """The attributes, in the form of answers."""
        given = {"enabled": self.enabled, "nbf": self.nbf, "exp": self.exp, "created": self.created}
        kept = {"updated": self.created, "recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90}
        return {name: value for name, value in (given | kept).items() if value is not None}


@dataclass(frozen=True)
class Failure:
    """An answer in place of the right one, for authenticated requests whose path has this ending."""

    status: int
    content: object = None
    headers: dict = field(default_factory=dict)
    suffix: str = ""


class Refused(Exception):  # noqa: N818 - an answer
    """The service answers with an error."""

    def __init__(self, status, code, message, inner=None):
        super().__init__(message)
        self.status = status
        self.content = error_body(code, message, inner)


def error_body(code, message, inner=None):
    """Return an error as the service writes it."""
    return {"error": {"code": code, "message": message} | ({"innererror": {"code": inner}} if inner else {})}


def encoded(value):
    """Return bytes as base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decoded(text):
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class AzureServer:
    """A vault or a Managed HSM. They make different keys."""

    def __init__(self, *, token, resource="https://vault.azure.net", tenant="11111111-2222-3333-4444-555555555555"):
        self.token = token
        self.challenge = f'Bearer authorization="https://login.windows.net/{tenant}", resource="{resource}"'
        self.keys = {}
        self.deleted = {}
        self.gone = {}
        self.being_deleted = set()
        self.page = 25
        self.shows_disabled = True
        self.wraps_disabled = False
        self.link_host = None
        self.failure = None
        self.hang = None
        self.drop = False
        self.requests = []
        self.running = self.most_running = 0
        self.pause = 0.0
        self.url = ""
        self.clock = itertools.count(int(time.time()))

    # --- HTTP

    async def handle(self, request):
        """Answer one request."""
        body = await request.read()
        seen = {"method": request.method, "path": request.path, "query": dict(request.query), "body": body}
        self.requests.append(seen | {"authorized": "Authorization" in request.headers})
        if self.drop:
            request.transport.abort()
            return web.Response()
        headers = {"x-ms-request-id": f"request-{len(self.requests)}", "x-ms-keyvault-region": "westeurope"}
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            content = error_body("Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.")
            return web.json_response(content, status=401, headers=headers | {"WWW-Authenticate": self.challenge})
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.hang is not None:
                await self.hang.wait()
            await asyncio.sleep(self.pause)
            failure = self.failure
            if failure is not None and request.path.endswith(failure.suffix):
                text = failure.content if isinstance(failure.content, str) else json.dumps(failure.content)
                kind = "text/html" if isinstance(failure.content, str) else "application/json"
                return web.Response(
                    text=text, status=failure.status, headers=headers | failure.headers, content_type=kind
                )
            try:
                return web.json_response(self.answer(request, body), headers=headers)
            except Refused as refused:
                return web.json_response(refused.content, status=refused.status, headers=headers)
        finally:
            self.running -= 1

    def answer(self, request, body):  # noqa: C901 - a case for each request
        """Return the service's answer."""
        if not request.query.get("api-version"):
            raise Refused(400, "BadParameter", "api-version must be specified")
        content = json.loads(body or b"{}")
        match request.method, *request.path.strip("/").split("/"):
            case "GET", "keys":
                limit = int(request.query.get("maxresults", self.page))
                return {"value": [self.item(name, each[-1]) for name, each in list(self.keys.items())[:limit]]}
            case "GET", "keys", name, "versions":
                return self.versions(name, int(request.query.get("$skiptoken", 0)))
            case "GET", "keys", name, *version:
                return self.bundle(name, self.usable(name, *version, operation="get"))
            case "POST", "keys", name, "create":
                return self.create(name, content)
            case "POST", "keys", name, "rotate":
                old = self.found(name)
                return self.added(name, old.kty, old.size, old.key_ops)
            case "POST", "keys", name, version, ("wrapkey" | "unwrapkey") as operation:
                return self.use(name, version, operation, content)
            case "PATCH", "keys", name, version:
                found = self.found(name, version)
                found.enabled = content["attributes"]["enabled"]
                return self.bundle(name, found)
            case "DELETE", "keys", name:
                return self.delete(name)
            case "GET", "deletedkeys", name if name in self.deleted:
                return self.deleted[name]
            case _, "deletedkeys", name:
                raise Refused(404, "KeyNotFound", f"Deleted Key not found: {name}")
        raise Refused(405, "MethodNotAllowed", "The method is not allowed.")

    # --- keys

    def found(self, name, version=None):
        """Return a version of a key; the newest one if none is named."""
        versions = self.keys.get(name, ())
        match = [each for each in versions if version in (None, each.id)]
        if not match:
            wanted = name if version is None else f"{name}/{version}"
            raise Refused(
                404,
                "KeyNotFound",
                f"A key with (name/id) {wanted} was not found in this key vault. If you recently deleted this key you "
                f"may be able to recover it using the correct recovery command. {HELP}",
            )
        return match[-1]

    def usable(self, name, version=None, *, operation):
        """Return a version that an operation may use."""
        found = self.found(name, version)
        spared = (operation == "get" and self.shows_disabled) or (operation == "wrapKey" and self.wraps_disabled)
        if not found.enabled and not spared:
            raise Refused(403, "Forbidden", f"Operation {operation} is not allowed on a disabled key.", "KeyDisabled")
        if operation == "wrapKey":  # an expired key can still unwrap, by the vendor's documentation
            if found.exp is not None and found.exp <= time.time():
                raise Refused(403, "Forbidden", "Operation wrapKey is not allowed on an expired key.", "KeyExpired")
            if found.nbf is not None and found.nbf > time.time():
                text = "Operation wrapKey is not allowed on a key that is not yet valid."
                raise Refused(403, "Forbidden", text, "KeyNotYetValid")  # guessed, like KeyExpired
        if operation in ("wrapKey", "unwrapKey") and operation not in found.key_ops:
            text = f"Operation {operation} is not permitted on this key."
            raise Refused(403, "Forbidden", text, "KeyOperationForbidden")
        return found

    def use(self, name, version, operation, content):
        """Wrap or unwrap."""
        found = self.usable(name, version, operation={"wrapkey": "wrapKey", "unwrapkey": "unwrapKey"}[operation])
        value = decoded(content.get("value", ""))
        if not value:
            raise Refused(400, "BadParameter", "Property 'value' is required.\r\n")
        expected = "A256KW" if found.kty == "oct-HSM" else "RSA-OAEP-256"
        if content.get("alg") != expected:
            raise Refused(400, "BadParameter", "Key and signing algorithm are incompatible.")
        try:
            made = _wrap(found, value) if operation == "wrapkey" else _unwrap(found, value)
        except (ValueError, InvalidUnwrap):
            # the vault's code is documented; the same code is guessed for a Managed HSM
            raise Refused(400, "BadParameter", "Unable to decrypt specified value with this key.") from None
        return {"kid": self.kid(name, found), "value": encoded(made)}

    def create(self, name, content):
        """Create a key, or another version of it."""
        subject = f"Key {name} is currently"
        if name in self.being_deleted:
            text = f"{subject} being deleted and cannot be re-created; retry later."
            raise Refused(409, "Conflict", text, "ObjectIsBeingDeleted")
        if name in self.deleted:
            text = (
                f"{subject} in a deleted but recoverable state, and its name cannot be reused; in this state, "
                "the key can only be recovered or purged."
            )
            raise Refused(409, "Conflict", text, "ObjectIsDeletedButRecoverable")
        return self.added(name, content["kty"], content["key_size"], content["key_ops"])

    def added(self, name, kty, size, key_ops):
        """Add a version."""
        material = uuid4().bytes + uuid4().bytes if kty == "oct-HSM" else rsa_key(size)
        version = Version(kty, material, size, key_ops, created=next(self.clock))
        self.keys.setdefault(name, []).append(version)
        return self.bundle(name, version)

    def delete(self, name):
        """Delete a key. It can be purged later."""
        current = self.found(name)
        now = int(time.time())
        said = {
            "recoveryId": f"{self.url}/deletedkeys/{name}",
            "deletedDate": now,
            "scheduledPurgeDate": now + RETENTION_SECONDS,
        }
        self.deleted[name] = self.bundle(name, current) | said
        self.gone[name] = self.keys.pop(name)
        return self.deleted[name]

    def versions(self, name, start):
        """Return a page of versions, in no particular order; an empty page for a key that does not exist."""
        items = [
            self.item(name, each, with_version=True) for each in sorted(self.keys.get(name, ()), key=lambda v: v.id)
        ]
        after = start + self.page
        link = f"{self.link_host or self.url}/keys/{name}/versions?api-version=2025-07-01&$skiptoken={after}"
        return {"value": items[start:after], "nextLink": link if after < len(items) else None}

    def kid(self, name, version):
        """Return the id of a version."""
        return f"{self.url}/keys/{name}/{version.id}"

    def item(self, name, version, *, with_version=False):
        """Return a key's entry in a list."""
        return {
            "kid": self.kid(name, version) if with_version else f"{self.url}/keys/{name}",
            "attributes": version.attributes,
        }

    def bundle(self, name, version):
        """Return a key with its public part."""
        key = {"kid": self.kid(name, version), "kty": version.kty, "key_ops": version.key_ops}
        if version.kty == "RSA":
            numbers = version.material.public_key().public_numbers()
            key |= {"n": encoded(numbers.n.to_bytes(version.size // 8)), "e": "AQAB"}
        return {"key": key, "attributes": version.attributes}


def _wrap(version, value):
    if version.kty == "oct-HSM":
        return aes_key_wrap(version.material, value)
    return version.material.public_key().encrypt(value, _OAEP)


def _unwrap(version, value):
    if version.kty == "oct-HSM":
        return aes_key_unwrap(version.material, value)
    return version.material.decrypt(value, _OAEP)


@asynccontextmanager
async def served(server, context, *, host="localhost"):
    """Serve on a free port of this machine."""
    application = web.Application(client_max_size=2**20)
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.url = f"https://{host}:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        if server.hang is not None:
            server.hang.set()
        await runner.cleanup()
