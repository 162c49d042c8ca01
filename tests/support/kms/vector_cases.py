"""Builders of the cases that `tests/vectors/generate.py` writes."""

from __future__ import annotations

import hashlib
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock
from uuid import UUID

import zstandard

from strongroom.kms import KeyClass, NamespaceKeys, PartType, RecordKind, Secret, Suite, bound_cell_id
from strongroom.kms.keys import data_key
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.keys.leases import Lease
from strongroom.kms.sealing import ciphers, python_cipher
from strongroom.kms.sealing.header import ZSTD
from strongroom.kms.sealing.packing import padme

if TYPE_CHECKING:
    from collections.abc import Callable

    Draw = Callable[[int], bytes]
    Case = dict[str, Any]

CELL = UUID("0c0c0c0c-0000-4000-8000-00000000ce11")
OTHER_CELL = UUID("0c0c0c0c-0000-4000-8000-00000000ce12")
NAMESPACE = UUID("0a0a0a0a-0000-4000-8000-0000000000a1")
OTHER_NAMESPACE = UUID("0a0a0a0a-0000-4000-8000-0000000000a2")
REGION, OTHER_REGION = "eu-central-1", "us-east-1"
ROOTS = {1: bytes(range(32)), 2: bytes(range(32, 64))}
ID = bytes(range(0xA0, 0xB0))

EVENT = RecordKind("history_event", "data", (PartType.ID, PartType.INT64))
EVENT_KEY = (ID, 7)
PLAINTEXT = b"what only the owner of the key reads"


def kind(name: str = EVENT.name, column: str = EVENT.column, **packing: Any) -> RecordKind:
    """Return a kind with the key of `EVENT`."""
    return RecordKind(name, column, EVENT.key, **packing)


def seal_batch(
    rows: list[tuple[tuple[Any, ...], bytes]],
    *,
    of: RecordKind = EVENT,
    suite: Suite = Suite.XAES_256_GCM,
    version: int = 1,
    draw: Draw,
    packed: tuple[int, bytes] | None = None,
    region: str | None = None,
) -> list[bytes]:
    """Seal rows with the public method. Nonces come from `draw`, and the packed body is `packed` if that is given."""
    key = DataKey(Secret(root_of(version)), version=version, suite=suite, lease=Lease(len(rows)), cipher=ciphers.PYTHON)
    keys = NamespaceKeys(
        cell_id=bound_cell_id(CELL, region),
        namespace_id=NAMESPACE,
        data={version: key},
        index={},
        identity={},
        active={KeyClass.DATA: version},
    )
    pack = data_key.pack if packed is None else (lambda _kind, _plaintext: packed)
    with (
        mock.patch.object(python_cipher, "os", SimpleNamespace(urandom=draw)),
        mock.patch.object(data_key, "pack", pack),
    ):
        return keys.seal_many(of, rows)


def sealed_row(
    kind: RecordKind = EVENT,
    key: tuple[Any, ...] = EVENT_KEY,
    plaintext: bytes = PLAINTEXT,
    *,
    suite: Suite = Suite.XAES_256_GCM,
    version: int = 1,
    packed: tuple[int, bytes] | None = None,
    region: str | None = None,
) -> bytes:
    """Seal one row under a nonce that depends on every argument, so that no two cases share a nonce."""
    seed = repr((kind, key, plaintext, suite, version, packed, *([region] if region else []))).encode()

    def draw(count: int) -> bytes:
        return hashlib.shake_128(seed).digest(count)

    row = [(key, plaintext)]
    return seal_batch(row, of=kind, suite=suite, version=version, draw=draw, packed=packed, region=region)[0]


def valid(
    name: str,
    what: str,
    *,
    kind: RecordKind = EVENT,
    key: tuple[Any, ...] = EVENT_KEY,
    plaintext: bytes = PLAINTEXT,
    suite: Suite = Suite.XAES_256_GCM,
    version: int = 1,
    sealed: bytes | None = None,
) -> Case:
    """Return a case whose value opens."""
    if sealed is None:
        sealed = sealed_row(kind, key, plaintext, suite=suite, version=version)
    keys = [key_of(number, suite) for number in sorted({1, version})]
    case = described(sealed=sealed, kind=kind, key=key, keys=keys)
    compressed = {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION))} if sealed[3] & ZSTD else {}
    return {"name": name, "what": what, **case, "plaintext": plaintext.hex(), **compressed}


def refused_bytes(
    name: str,
    what: str,
    error: str,
    sealed: bytes,
    good: bytes,
    *,
    kind: RecordKind = EVENT,
    keys: list[dict[str, Any]] | None = None,
) -> Case:
    """Return a case whose value is refused. Its control is the unaltered value, which opens in the same row."""
    case = described(sealed=sealed, kind=kind, keys=keys)
    return refused(name, what, error, case, {}, control={"sealed": good.hex()})


def refused_body(
    name: str, what: str, kind: RecordKind, flags: int, spoilt: bytes, right: bytes, plaintext: bytes
) -> Case:
    """Return a case whose body is refused after decryption. Its control is a correct body."""
    case = described(sealed=sealed_row(kind, packed=(flags, spoilt)), kind=kind)
    control = {"sealed": sealed_row(kind, packed=(flags, right)).hex(), "plaintext": plaintext.hex()}
    return refused(name, what, "IntegrityError", case, {}, control=control)


def refused(
    name: str,
    what: str,
    error: str,
    case: Case,
    moved: dict[str, Any],
    *,
    control: dict[str, Any] | None = None,
) -> Case:
    """Return a case that raises. Its control is `control`, or else the original values of the fields in `moved`."""
    own = described(sealed=b"")
    control = {field: own[field] for field in moved} if control is None else control
    return {"name": name, "what": what, **case, "error": error, "control": {"plaintext": PLAINTEXT.hex(), **control}}


def described(
    *,
    sealed: bytes,
    kind: RecordKind = EVENT,
    key: tuple[Any, ...] = EVENT_KEY,
    keys: list[dict[str, Any]] | None = None,
) -> Case:
    """Return the fields that every case has."""
    return {
        "cell": CELL.hex,
        "namespace": NAMESPACE.hex,
        "keys": [key_of(1)] if keys is None else keys,
        "kind": kind_of(kind),
        "key": key_parts(key),
        "sealed": sealed.hex(),
    }


def root_of(version: int) -> bytes:
    """Return the fixed root of a version."""
    return ROOTS.get(version) or hashlib.sha256(f"root {version}".encode()).digest()


def key_of(version: int, suite: Suite = Suite.XAES_256_GCM) -> dict[str, Any]:
    """Return the JSON form of a data key."""
    return {"version": version, "suite": int(suite), "root": root_of(version).hex(), "state": "active"}


def kind_of(kind: RecordKind) -> dict[str, Any]:
    """Return the JSON form of a record kind."""
    return {
        "name": kind.name,
        "column": kind.column,
        "key": [part.name for part in kind.key],
        "compress": kind.compress,
        "dictionary": kind.dictionary.hex(),
        **({"tables": kind.tables.hex()} if kind.tables else {}),
        "padded": kind.padded,
    }


def key_parts(key: tuple[Any, ...]) -> list[Any]:
    """Return the JSON form of a row's key."""
    return [part.hex() if isinstance(part, bytes) else part for part in key]


def put(sealed: bytes, position: int, value: int) -> bytes:
    """Return the value with one byte replaced."""
    return sealed[:position] + bytes((value,)) + sealed[position + 1 :]


def flip(sealed: bytes, position: int) -> bytes:
    """Return the value with the lowest bit of one byte flipped."""
    return put(sealed, position, sealed[position] ^ 1)


def padded_body(body: bytes) -> bytes:
    """Return the body with length and padding, as a writer produces it."""
    body = struct.pack(">I", len(body)) + body
    return body + bytes(padme(len(body)) - len(body))


def zstd_frame(content_size: int | None, blocks: list[int]) -> bytes:
    """Return a zstd frame (RFC 8878) of run-length blocks of "z". It does not depend on the version of libzstd."""
    magic = b"\x28\xb5\x2f\xfd"
    unsized = b"\x00\x58"  # no content size, a window of 2 MiB
    # Otherwise the content size has four bytes, in a single segment.
    header = unsized if content_size is None else b"\xa0" + struct.pack("<I", content_size)
    body = b""
    for number, size in enumerate(blocks, start=1):
        is_last = number == len(blocks)
        body += struct.pack("<I", is_last | 1 << 1 | size << 3)[:3] + b"z"
    return magic + header + body


def runs(length: int) -> list[int]:
    """Return the sizes of the blocks for a length. A zstd block holds at most 128 KiB."""
    full, rest = divmod(length, 2**17)
    return [2**17] * full + [rest] * bool(rest)
