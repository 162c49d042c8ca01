"""The part of Cloud KMS that the provider uses: its gRPC service, in memory, with AES-256-GCM, states, checksums and errors.

Texts and details are those of the real service if they could be looked up. These are the sources (see gcp_kms.md too):

- `... is not enabled, current state is: X.` with a PreconditionFailure of type `KEY_X`; `CryptoKey ... not found.`,
  `... already exists.`; both texts of a Decrypt that fails; `Permission '...' denied on resource '...' (or it may not
  exist).`: from output of gcloud, Terraform and SOPS that people have published;
- the text of a checksum that does not match, and what the `verified_` fields say: Google's page on data integrity;
- the states, and which of them a version can be destroyed from: Google's fakekms (kms-integrations on GitHub).
"""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import google_crc32c
import grpc
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.cloud.kms_v1.types import resources, service
from google.rpc import error_details_pb2, status_pb2

State = resources.CryptoKeyVersion.CryptoKeyVersionState
Purpose = resources.CryptoKey.CryptoKeyPurpose
_SERVICE = "google.cloud.kms.v1.KeyManagementService"
_ID_BYTES, _NONCE_BYTES = 36, 12


@dataclass(slots=True)
class Version:
    """A version, with its key."""

    shown: resources.CryptoKeyVersion
    key: bytes = field(default_factory=lambda: os.urandom(32))
    mark: bytes = field(default_factory=lambda: b"\x00" + os.urandom(_ID_BYTES - 1))


@dataclass(slots=True)
class Key:
    """A CryptoKey, with its versions by number."""

    shown: resources.CryptoKey
    versions: dict[str, Version] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - the name says what happened
    """The service answers with an error."""

    def __init__(self, code, text, *details):
        super().__init__(text)
        self.code, self.text, self.details = code, text, details

    def trailer(self):
        """The error details, in the form that Google's services send."""
        if not self.details:
            return ()
        status = status_pb2.Status(code=self.code.value[0], message=self.text)
        for detail in self.details:
            status.details.add().Pack(detail)
        return (("grpc-status-details-bin", status.SerializeToString()),)


class GcpServer:
    """The service, with settings and faults for tests."""

    def __init__(self, key_ring, token):
        self.key_ring = key_ring
        self.token = token
        self.keys = {}
        self.calls = []  # method, request, metadata
        self.page = 1000  # maximum number of versions in an answer
        self.refusing = None  # the Refused that each use of a key raises; None for none
        self.delay = 0.0  # seconds before the answer to each use of a key
        self.altering = None  # called with the answer to each use of a key before it is sent
        self.receiving = None  # called with the request of each use of a key
        self.terse = False  # a FAILED_PRECONDITION without the details and the usual text
        self.blind = False  # callers may use keys, but not read their metadata
        self.slow_generation = 0  # number of answers in which a new version is still being generated
        self.lagging_primary = False  # Encrypt still uses the old primary, as the real service may for some time
        self._server = None
        self.port = 0

    async def start(self, credentials=None, port=0):
        """Listen on this machine."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, {name: self._handler(name) for name in _REQUESTS}),)
        )
        if credentials is None:
            self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        else:
            self.port = self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await self._server.start()

    async def stop(self):
        """Stop listening."""
        await self._server.stop(None)

    @contextmanager
    def having(self, **attributes):
        """Set attributes for the duration of a block."""
        before = {name: getattr(self, name) for name in attributes}
        for name, value in attributes.items():
            setattr(self, name, value)
        try:
            yield self
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def set_states(self, key_name, state, *numbers):
        """Put versions, or all of a key, into a state."""
        key = self.keys[key_name]
        for number in numbers or key.versions:
            key.versions[number].shown.state = state

    def sent(self, method):
        """Return the requests of a method so far, with their metadata."""
        return [(request, metadata) for name, request, metadata in self.calls if name == method]

    def _handler(self, name):
        request_type = _REQUESTS[name]

        async def handle(request, context):
            metadata = dict(context.invocation_metadata())
            self.calls.append((name, request, metadata))
            try:
                self._check_caller(name, metadata)
                answer = await getattr(self, f"_{name}")(request)
            except Refused as refused:
                await context.abort(refused.code, refused.text, refused.trailer())
            return answer

        return grpc.unary_unary_rpc_method_handler(
            handle,
            request_deserializer=request_type.deserialize,
            response_serializer=lambda answer: type(answer).serialize(answer),
        )

    def _check_caller(self, method, metadata):
        if metadata.get("authorization") != f"Bearer {self.token}":
            raise unauthenticated(method)
        assert metadata["x-goog-request-params"].split("=", 1)[0] in {"name", "parent", "crypto_key.name"}

    # --- use of keys

    async def _Encrypt(self, request):  # noqa: N802 - the method's name in the service
        await self._fault(request)
        key = self._key(request.name)
        _check_sum(request, "plaintext")
        _check_sum(request, "additional_authenticated_data")
        number = _number(key.shown.primary.name)
        if self.lagging_primary:
            number = str(int(number) - 1)
        version = self._enabled(key.versions[number])
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(version.key).encrypt(nonce, request.plaintext, request.additional_authenticated_data)
        ciphertext = b"\x0a\x24" + version.mark + b"\x12" + bytes([len(sealed)]) + sealed
        answer = service.EncryptResponse(
            name=version.shown.name,
            ciphertext=ciphertext,
            ciphertext_crc32c=google_crc32c.value(ciphertext),
            verified_plaintext_crc32c=request.plaintext_crc32c is not None,
            verified_additional_authenticated_data_crc32c=request.additional_authenticated_data_crc32c is not None,
            protection_level=resources.ProtectionLevel.SOFTWARE,
        )
        if self.altering is not None:
            self.altering(answer)
        return answer

    async def _Decrypt(self, request):  # noqa: N802
        await self._fault(request)
        key = self._key(request.name)
        _check_sum(request, "ciphertext")
        _check_sum(request, "additional_authenticated_data")
        given, header = request.ciphertext, 2 + _ID_BYTES + 2
        marked = given[:2] == b"\x0a\x24" and given[header - 2 : header - 1] == b"\x12"
        if not marked or len(given) != header + given[header - 1]:
            raise _invalid("Decryption failed: the ciphertext is invalid.")
        marks = {version.mark: version for version in key.versions.values()}
        version = marks.get(given[2 : 2 + _ID_BYTES])
        if version is None:
            raise _invalid("Decryption failed: verify that 'name' refers to the correct CryptoKey.")
        self._enabled(version)
        nonce, sealed = given[header : header + _NONCE_BYTES], given[header + _NONCE_BYTES :]
        try:
            plaintext = AESGCM(version.key).decrypt(nonce, sealed, request.additional_authenticated_data)
        except InvalidTag:
            raise _invalid("Decryption failed: the ciphertext is invalid.") from None
        answer = service.DecryptResponse(
            plaintext=plaintext,
            plaintext_crc32c=google_crc32c.value(plaintext),
            used_primary=version.shown.name == key.shown.primary.name,
            protection_level=resources.ProtectionLevel.SOFTWARE,
        )
        if self.altering is not None:
            self.altering(answer)
        return answer

    async def _fault(self, request):
        if self.receiving is not None:
            self.receiving(request)
        await asyncio.sleep(self.delay)
        if self.refusing is not None:
            raise self.refusing

    def _enabled(self, version):
        state = version.shown.state.name
        if state == "ENABLED":
            return version
        if self.terse:
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, "Precondition check failed.")
        violation = error_details_pb2.PreconditionFailure.Violation(type=f"KEY_{state}", subject=version.shown.name)
        raise Refused(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"{version.shown.name} is not enabled, current state is: {state}.",
            error_details_pb2.PreconditionFailure(violations=[violation]),
        )

    # --- life of keys

    async def _GetKeyRing(self, request):  # noqa: N802
        if request.name != self.key_ring:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"KeyRing {request.name} not found.")
        return resources.KeyRing(name=request.name)

    async def _GetCryptoKey(self, request):  # noqa: N802
        self._see("cloudkms.cryptoKeys.get", request.name)
        return self._shown(self._key(request.name))

    async def _GetCryptoKeyVersion(self, request):  # noqa: N802
        self._see("cloudkms.cryptoKeyVersions.get", request.name)
        key_name, _, number = request.name.rpartition("/cryptoKeyVersions/")
        version = self._key(key_name).versions.get(number)
        if version is None:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"CryptoKeyVersion {request.name} not found.")
        if version.shown.state == State.PENDING_GENERATION:
            self.slow_generation -= 1
            if self.slow_generation <= 0:
                version.shown.state = State.ENABLED
        return version.shown

    async def _ListCryptoKeyVersions(self, request):  # noqa: N802
        shown = [version.shown for version in self._key(request.parent).versions.values()]
        start = int(request.page_token or "0")
        end = start + min(request.page_size or 100, self.page)
        return service.ListCryptoKeyVersionsResponse(
            crypto_key_versions=shown[start:end],
            next_page_token=str(end) if end < len(shown) else "",
            total_size=len(shown),
        )

    async def _CreateCryptoKey(self, request):  # noqa: N802
        if request.parent != self.key_ring:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"KeyRing {request.parent} not found.")
        name = f"{request.parent}/cryptoKeys/{request.crypto_key_id}"
        if name in self.keys:
            raise Refused(grpc.StatusCode.ALREADY_EXISTS, f"CryptoKey {name} already exists.")
        shown = resources.CryptoKey(request.crypto_key)
        shown.name = name
        shown.destroy_scheduled_duration = timedelta(days=30)
        self.keys[name] = key = Key(shown)
        shown.primary = resources.CryptoKeyVersion(name=self._add(key).shown.name)
        return self._shown(key)

    async def _CreateCryptoKeyVersion(self, request):  # noqa: N802
        return self._add(self._key(request.parent)).shown

    async def _UpdateCryptoKeyPrimaryVersion(self, request):  # noqa: N802
        key = self._key(request.name)
        version = self._enabled(key.versions[request.crypto_key_version_id])
        key.shown.primary = resources.CryptoKeyVersion(name=version.shown.name)
        return self._shown(key)

    async def _UpdateCryptoKey(self, request):  # noqa: N802
        key = self._key(request.crypto_key.name)
        for path in request.update_mask.paths:
            assert path in {"rotation_period", "next_rotation_time"}
            assert path not in request.crypto_key
            setattr(key.shown, path, None)
        return self._shown(key)

    async def _DestroyCryptoKeyVersion(self, request):  # noqa: N802
        key_name, _, number = request.name.rpartition("/cryptoKeyVersions/")
        key = self._key(key_name)
        version = key.versions[number].shown
        if version.state not in (State.ENABLED, State.DISABLED):
            text = f"{version.name} must be in state ENABLED or DISABLED, current state is: {version.state.name}."
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, text)
        version.state = State.DESTROY_SCHEDULED
        version.destroy_time = datetime.now(UTC) + key.shown.destroy_scheduled_duration
        return version

    def _see(self, permission, name):
        if self.blind:
            raise permission_denied(permission, name)

    def _key(self, name):
        if name not in self.keys:
            raise Refused(grpc.StatusCode.NOT_FOUND, f"CryptoKey {name} not found.")
        return self.keys[name]

    def _add(self, key):
        number = str(len(key.versions) + 1)
        state = State.PENDING_GENERATION if self.slow_generation else State.ENABLED
        name = f"{key.shown.name}/cryptoKeyVersions/{number}"
        key.versions[number] = version = Version(resources.CryptoKeyVersion(name=name, state=state))
        return version

    def _shown(self, key):
        """Return the key with its current primary version."""
        shown = resources.CryptoKey(key.shown)
        if shown.primary.name:
            shown.primary = key.versions[_number(shown.primary.name)].shown
        return shown


def unauthenticated(method):
    """Return the error for a token that is not accepted."""
    return Refused(
        grpc.StatusCode.UNAUTHENTICATED,
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential.",
        error_details_pb2.ErrorInfo(
            reason="ACCESS_TOKEN_TYPE_UNSUPPORTED",
            domain="googleapis.com",
            metadata={"service": "cloudkms.googleapis.com", "method": f"{_SERVICE}.{method}"},
        ),
    )


def permission_denied(permission, name):
    """Return the error for a caller without a permission."""
    return Refused(
        grpc.StatusCode.PERMISSION_DENIED,
        f"Permission '{permission}' denied on resource '{name}' (or it may not exist).",
        error_details_pb2.ErrorInfo(
            reason="IAM_PERMISSION_DENIED",
            domain="cloudkms.googleapis.com",
            metadata={"permission": permission, "resource": name},
        ),
    )


def throttled(seconds=None):
    """Return the error for an exceeded quota, with or without the time to wait."""
    retry = error_details_pb2.RetryInfo()
    if seconds is not None:
        retry.retry_delay.FromTimedelta(timedelta(seconds=seconds))
    return Refused(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "Quota exceeded for quota metric 'Cryptographic requests' and limit 'Cryptographic requests per minute' of "
        "service 'cloudkms.googleapis.com' for consumer 'project_number:123456789'.",
        error_details_pb2.ErrorInfo(reason="RATE_LIMIT_EXCEEDED", domain="googleapis.com"),
        error_details_pb2.RequestInfo(request_id="request-17"),
        *([] if seconds is None else [retry]),
    )


def _check_sum(request, name):
    expected = getattr(request, f"{name}_crc32c")
    if expected is not None and expected != google_crc32c.value(getattr(request, name)):
        raise _invalid(f"The checksum in field {name}_crc32c did not match the data in field {name}.")


def _invalid(text):
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, text)


def _number(version_name):
    return version_name.rpartition("/")[2]


_REQUESTS = {
    name: getattr(service, f"{name}Request")
    for name in (
        "Encrypt",
        "Decrypt",
        "GetKeyRing",
        "GetCryptoKey",
        "GetCryptoKeyVersion",
        "ListCryptoKeyVersions",
        "CreateCryptoKey",
        "CreateCryptoKeyVersion",
        "UpdateCryptoKey",
        "UpdateCryptoKeyPrimaryVersion",
        "DestroyCryptoKeyVersion",
    )
}
