"""moto's AWS KMS over HTTP, with AWS's behaviour where moto differs, and with faults that tests set.

Added to moto: key states are enforced; a rotation makes new key material, named in answers, and takes a while; a wrong
KeyId is an IncorrectKeyException; ids of multi-Region keys have AWS's form; ReEncrypt checks SourceKeyId. The cipher is
moto's.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import responses
from threading import Event
from types import SimpleNamespace

from moto.core.exceptions import JsonRESTError
from moto.kms import models
from moto.kms.exceptions import InvalidCiphertextException
from moto.kms.models import Key, KmsBackend
from moto.kms.responses import KmsResponse
from moto.kms.utils import decrypt, encrypt, generate_master_key

from tests.support.moto_server import MotoServer

_MATERIAL_BYTES = 32  # length of a material's id, which precedes moto's ciphertext
ROTATION_SECONDS = 0.3
ROTATIONS = 25


@dataclass(slots=True)
class Material:
    """One version of a key."""

    id: bytes
    key: bytes
    since: datetime
    first: bool = False


@dataclass(slots=True)
class Request:
    """A request that the server received."""

    operation: str
    body: dict
    headers: dict


@dataclass(slots=True)
class Fault:
    """An answer in place of the right one. Without a status, the connection is cut."""

    code: str = ""
    text: str = ""
    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes | None = None


def _key_id(multi_region):
    made = uuid.uuid4()
    return f"mrk-{made.hex}" if multi_region else str(made)


def _usable(key):
    if key.key_state == "Disabled":
        raise JsonRESTError("DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        words = {"PendingDeletion": "pending deletion", "PendingImport": "pending import"}
        raise JsonRESTError("KMSInvalidStateException", f"{key.arn} is {words.get(key.key_state, key.key_state)}.")
    return key


def _materials(key):
    """Return a key's materials. The last one wraps. A rotation's material is included once the rotation is done."""
    if not hasattr(key, "materials"):
        key.materials = [Material(os.urandom(_MATERIAL_BYTES), key.key_material, datetime.now(UTC), first=True)]
    return [material for material in key.materials if material.since <= datetime.now(UTC)]


def _encrypt(self, key_id, plaintext, encryption_context):
    key = _usable(self.keys[self.any_id_to_key_id(key_id)])
    material = _materials(key)[-1]
    sealed = encrypt({key.id: SimpleNamespace(key_material=material.key)}, key.id, plaintext, encryption_context)
    return material.id + sealed, key.arn


def _decrypt(self, ciphertext_blob, encryption_context, key_id=None):
    named, sealed = ciphertext_blob[:_MATERIAL_BYTES], ciphertext_blob[_MATERIAL_BYTES:]
    found = [(key, one) for key in self.keys.values() for one in _materials(key) if one.id == named]
    if not found:
        raise InvalidCiphertextException
    ((key, material),) = found
    if key_id is not None and self.any_id_to_key_id(key_id) != key.id:
        raise JsonRESTError(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        )
    _usable(key)
    keys = dict.fromkeys(self.keys) | {key.id: SimpleNamespace(key_material=material.key)}
    plaintext, _ = decrypt(keys, sealed, encryption_context)
    return plaintext, key.arn


def _rotate(self, key_id):
    key = _usable(self.keys[self.any_id_to_key_id(key_id)])
    if getattr(key, "custom_store", False):
        raise JsonRESTError("UnsupportedOperationException", f"{key.arn} origin is AWS_CLOUDHSM which is not valid.")
    if len(_materials(key)) > ROTATIONS:
        raise JsonRESTError("LimitExceededException", f"{key.arn} has no on-demand rotations left.")
    since = datetime.now(UTC) + timedelta(seconds=ROTATION_SECONDS)
    key.materials.append(Material(os.urandom(_MATERIAL_BYTES), generate_master_key(), since))
    return key_id


def _schedule(original):
    def schedule(self, key_id, pending_window_in_days):
        key = self.keys[self.any_id_to_key_id(key_id)]
        if key.key_state == "PendingDeletion":
            _usable(key)
        return original(self, key.id, pending_window_in_days)

    return schedule


def _metadata(original):
    def to_dict(self):
        described = original(self)
        if not getattr(self, "custom_store", False):
            described["KeyMetadata"]["CurrentKeyMaterialId"] = _materials(self)[-1].id.hex()
        return described

    return to_dict


def _without_alias(original):
    """Wrap an operation so that it refuses aliases, as AWS does. moto accepts them."""

    def answer(self):
        if "alias/" in self._get_param("KeyId"):
            raise JsonRESTError("NotFoundException", f"Invalid keyId {self._get_param('KeyId')!r}")
        return original(self)

    return answer


def _named(original, fields):
    """Wrap an operation so that its answer names the key material of its ciphertexts."""

    def answer(self):
        given = json.loads(original(self))
        key = self.kms_backend.keys[self.kms_backend.any_id_to_key_id(given["KeyId"])]
        for name, of_request in {} if getattr(key, "custom_store", False) else fields.items():
            ciphertext = self._get_param("CiphertextBlob") if of_request else base64.b64decode(given["CiphertextBlob"])
            given[name] = ciphertext[:_MATERIAL_BYTES].hex()
        return json.dumps(given)

    return answer


def _re_encrypt(original):
    def answer(self):
        source = self._get_param("SourceKeyId")
        self._validate_key_id(source)
        self.kms_backend.decrypt(
            self._get_param("CiphertextBlob"), self._get_param("SourceEncryptionContext", {}), source
        )
        return original(self)

    return answer


def _validated(self, key_id):
    """Accept ids of multi-Region keys in AWS's form, which moto's check refuses."""
    name = self.kms_backend.get_key_id(key_id)
    if name not in self.kms_backend.keys:
        raise JsonRESTError("NotFoundException", f"Key '{self._display_arn(key_id)}' does not exist")
    if key_id.startswith("arn:") and key_id.split(":")[3] != self.region:
        raise JsonRESTError("NotFoundException", f"Invalid arn {key_id.split(':')[3]}")


def _list_rotations(self):
    key = self.kms_backend.keys[self.kms_backend.any_id_to_key_id(self._get_param("KeyId"))]
    materials = [
        {
            "KeyId": key.arn,
            "KeyMaterialId": one.id.hex(),
            "KeyMaterialState": "CURRENT" if one is _materials(key)[-1] else "NON_CURRENT",
        }
        | ({} if one.first else {"RotationDate": one.since.timestamp(), "RotationType": "ON_DEMAND"})
        for one in reversed(_materials(key))
        if not one.first or self._get_param("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
    ]
    start = int(self._get_param("Marker") or 0)
    page = materials[start : start + 2]  # AWS may give fewer than asked for
    more = start + 2 < len(materials)
    return json.dumps({"Rotations": page, "Truncated": more} | ({"NextMarker": str(start + 2)} if more else {}))


for _owner, _name, _change in (  # never undone, because no other test of this process uses moto's KMS
    (models, "generate_key_id", _key_id),
    (KmsBackend, "encrypt", _encrypt),
    (KmsBackend, "decrypt", _decrypt),
    (KmsBackend, "rotate_key_on_demand", _rotate),
    (KmsBackend, "schedule_key_deletion", _schedule(KmsBackend.schedule_key_deletion)),
    (Key, "to_dict", _metadata(Key.to_dict)),
    (KmsResponse, "_validate_cmk_id", _validated),
    (KmsResponse, "rotate_key_on_demand", _without_alias(KmsResponse.rotate_key_on_demand)),
    (KmsResponse, "schedule_key_deletion", _without_alias(KmsResponse.schedule_key_deletion)),
    (KmsResponse, "list_key_rotations", _without_alias(_list_rotations)),
    (KmsResponse, "decrypt", _named(KmsResponse.decrypt, {"KeyMaterialId": True})),
    (KmsResponse, "generate_data_key", _named(KmsResponse.generate_data_key, {"KeyMaterialId": False})),
    (
        KmsResponse,
        "re_encrypt",
        _named(_re_encrypt(KmsResponse.re_encrypt), {"SourceKeyMaterialId": True, "DestinationKeyMaterialId": False}),
    ),
):
    setattr(_owner, _name, _change)


class AwsServer(MotoServer):
    """moto's server behind a filter, which keeps the requests and can answer them itself."""

    def __init__(self, ssl_context=None):
        super().__init__(ssl_context)
        self.requests = []
        self.fault = None
        self.before = lambda _request: None

    @contextmanager
    def silence(self):
        """Answer no request until the end. The event that this yields is set when the first request waits for its answer."""
        begun, ended = Event(), Event()

        def hold(_request):
            begun.set()
            ended.wait()
            return Fault()

        before, self.before = self.before, hold
        try:
            yield begun
        finally:
            self.before = before
            ended.set()

    def _answer(self, environ, start_response):
        operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        headers = {name: value for name, value in environ.items() if name.startswith("HTTP_")}
        request = Request(operation, json.loads(body), headers)
        self.requests.append(request)
        fault = self.fault if self.fault is not None else self.before(request)
        if fault is None:
            environ["wsgi.input"] = io.BytesIO(body)
            return super()._answer(environ, start_response)
        if not fault.status:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        answer = fault.body
        if answer is None:
            answer = json.dumps({"__type": fault.code, "message": fault.text}).encode()
        given = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": "6f5c1a", **fault.headers}
        start_response(f"{fault.status} {responses[fault.status]}", list(given.items()))
        return [answer]
