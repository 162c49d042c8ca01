"""The kernel and Python take the same arguments, return the same values, and raise the same kind of error, function by function."""

from __future__ import annotations

import inspect

import orjson
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import example, given
from hypothesis import strategies as st

from strongroom.kms import IntegrityError, InvalidRequest, RecordKind, SealingLimitExceeded
from strongroom.kms.sealing import ciphers, python_cipher
from strongroom.kms.sealing.header import COMPRESSION_MASK, PADDED, ZSTD
from strongroom.kms.sealing.packing import pack
from strongroom.storage import DataLoss
from strongroom.visibility import VISIBILITY_RECORD
from strongroom.visibility.index.record_packing import unpack_record, unpack_records

pytestmark = pytest.mark.usefixtures("native")

KEY, HEADER, CONTEXT = bytes(range(32)), bytes((1, 2, 0, 0, 0, 0, 0, 1)), b"context"
BYTES, INT64, TEXT, ID = (bytes((number,)) for number in (1, 2, 3, 4))
ENDS = (-(10**400), -(2**63) - 1, -(2**63), -1, 0, 1, 2**31, 2**63 - 1, 2**63, 2**64, 10**400)
COUNTS = (-(2**64), -(2**63), -1, 0, 1, 2, 65535, 65536, 65537, 2**31, 2**63, 2**64, 10**400)
PARTS = (
    None,
    True,
    *ENDS,
    1.5,
    "",
    "a",
    "\ud800",
    "a\0",
    "é" * 32767,
    "é" * 32768,
    b"",
    b"x" * 16,
    b"x" * 17,
    b"x" * 65535,
)
PARTS += (b"x" * 65536, bytearray(16), [], (), {})
REFUSED = (TypeError, ValueError, OverflowError, AttributeError, IndexError, InvalidTag, IntegrityError)
"""Errors of an argument, and of a value that does not open. Callers make one error of the second kind."""
TESTED = {"Cipher", "Tokens", "Unpacker", "open_rows", "unpack_records"}
ELSEWHERE = {"KeyMismatch", "NotOpened", "SealingBatch", "Subkey", "append"}
"""The errors and classes that the others return, and the writer of the audit log: tests/audit/test_chain.py."""


def modules():
    """Return both implementations."""
    return python_cipher, ciphers.implementation(ciphers.NATIVE)


def outcome(call):
    """Return what a call returns, or the kind of its error: of a key, of a limit, or any other."""
    misfits = (InvalidRequest, *(module.KeyMismatch for module in modules()))
    try:
        return "returned", call()
    except misfits:
        return "a key that does not fit", None
    except SealingLimitExceeded:
        return "a limit", None
    except REFUSED:
        return "refused", None


def same(call):
    """Return the outcome of a call of both implementations, which must be of one kind."""
    python, kernel = (outcome(lambda module=module: call(module)) for module in modules())
    assert python[0] == kernel[0]
    return python, kernel


def test_every_function_of_the_kernel_is_compared():
    """A new function is added here, or this fails."""
    import strongroom_kernel  # noqa: PLC0415 - where it is built

    offered = {name for name in dir(strongroom_kernel) if not name.startswith("_")} - {"strongroom_kernel"}
    assert offered == TESTED | ELSEWHERE


@given(
    key=st.binary(max_size=70) | st.sampled_from([bytes(63), bytes(64), bytes(65), bytes(200)]),
    message=st.binary(max_size=200),
)
@example(key=b"", message=b"")
def test_tokens(key, message):
    """HMAC hashes a key of more than 64 bytes first. Neither does, so both refuse it."""
    tokens = [
        same(lambda module: module.Tokens(key).token(message)),
        same(lambda module: module.Tokens(key).numbers([message] * 2)),
    ]
    tokens += [
        same(lambda module: module.Tokens(key).prefixes([message] * 2, 16)),
        same(lambda module: module.Tokens(key).exchange(bytes(32), message, [message], [b"", message])),
        same(lambda module: module.Tokens(key).grouped(message, [message], [b"a", message])),
    ]
    assert all(python == kernel for python, kernel in tokens)
    assert (tokens[0][0][0] == "returned") == (len(key) <= 64)


@pytest.mark.parametrize("suite", [*COUNTS, 3, 255, 256])
def test_keys_of_ciphers(suite):
    """A key has 32 bytes in both suites. AES of a shorter key is never used."""
    for length in (0, 1, 12, 16, 24, 31, 32, 33, 64):
        (kind, _), _ = same(lambda module, length=length: module.Cipher(bytes(length), suite).batch(0) and None)
        assert (kind == "returned") == (length == 32 and suite in (1, 2))


@pytest.mark.parametrize("suite", [1, 2])
def test_sizes_of_batches_and_of_nonces(suite):
    """A batch has at most 2^16 nonces, and a derived key belongs to 12 bytes of a nonce."""
    for count in COUNTS:
        (kind, _), _ = same(lambda module, count=count: module.Cipher(KEY, suite).batch(count) and None)
        assert (kind == "returned") == (0 <= count <= 65536)
    for length in (0, 1, 11, 12, 13, 24, 100) if suite == 2 else ():
        (kind, _), _ = same(lambda module, length=length: module.Cipher(KEY, suite).subkey(bytes(length)) and None)
        assert (kind == "returned") == (length == 12)
    for rows in (0, 1, 2, 3):
        given_rows = [((1,), b"x")] * rows
        same(
            lambda module, given_rows=given_rows: len(
                module.Cipher(KEY, suite).batch(2).seal(HEADER, CONTEXT, INT64, (), given_rows)
            )
        )


@pytest.mark.parametrize("suite", [1, 2])
@pytest.mark.parametrize("part_type", [BYTES, INT64, TEXT, ID])
def test_parts_of_keys(suite, part_type):
    """A part is sealed by both or refused by both, alone, in a batch and in the scope; and each opens what the other sealed."""
    for part in PARTS:
        for scope, key, count in (((), (part,), 1), ((), (part,), 2), ((part,), (), 2), ((part,), (), 1)):
            rows = [(key, b"plaintext")] * count
            sealed = same(
                lambda module, scope=scope, rows=rows: module.Cipher(KEY, suite).seal(
                    HEADER, CONTEXT, part_type, scope, rows
                )
            )
            for module, (kind, values) in zip(reversed(modules()), sealed, strict=True):
                if kind == "returned":
                    assert (
                        opened(module, suite, part_type, scope, [(key, value) for value in values])
                        == [b"plaintext"] * count
                    )


def opened(module, suite, types, scope, rows):
    """Open rows whose headers are not looked at."""
    cipher, start = module.Cipher(KEY, suite), len(HEADER) + (12 if suite == 2 else 0)
    return module.open_rows(
        lambda value: (cipher.subkey(value[len(HEADER) : start]), HEADER + CONTEXT, start), types, scope, rows
    )


@given(data=st.data(), suite=st.sampled_from([1, 2]), count=st.integers(1, 3))
def test_cut_and_changed_values(data, suite, count):
    """A value that was cut, continued or changed anywhere opens in neither."""
    rows = [((number,), bytes(number)) for number in range(count)]
    sealed = python_cipher.Cipher(KEY, suite).seal(HEADER, CONTEXT, INT64, (), rows)
    place = data.draw(st.integers(0, count - 1))
    value = sealed[place]
    end, flip = data.draw(st.integers(0, len(value))), data.draw(st.integers(len(HEADER), len(value) - 1))
    changed = data.draw(
        st.sampled_from(
            [value[:end], value + b"x", value[:flip] + bytes((value[flip] ^ 1,)) + value[flip + 1 :], b"", value]
        )
    )
    given_rows = [
        (key, changed if number == place else each)
        for number, ((key, _), each) in enumerate(zip(rows, sealed, strict=True))
    ]
    python, kernel = same(lambda module: opened(module, suite, INT64, (), given_rows))
    assert python == kernel
    assert (python[0] == "returned") == (changed == value)


BODIES = st.binary(max_size=60) | st.builds(bytes.__mul__, st.binary(min_size=1, max_size=9), st.integers(60, 900))
DICTIONARIES = st.sampled_from(
    [(b"", b""), (VISIBILITY_RECORD.dictionary, b""), (VISIBILITY_RECORD.dictionary, VISIBILITY_RECORD.tables)]
)


@given(data=st.data(), plaintext=BODIES, compress=st.booleans(), padded=st.booleans(), dictionaries=DICTIONARIES)
def test_bodies(data, plaintext, compress, padded, dictionaries):
    """Whatever a decrypted body is changed to, both return the same plaintext or none."""
    dictionary, tables = dictionaries
    kind = RecordKind("a", "b", (), compress=compress, padded=padded, dictionary=dictionary, tables=tables)
    cut = data.draw(st.integers(0, len(plaintext)))
    flags, body = pack(kind, data.draw(st.sampled_from([plaintext, (plaintext[:cut], plaintext[cut:])])))
    end = data.draw(st.integers(0, len(body)))
    changed = data.draw(
        st.sampled_from(
            [body, body[:end], body + b"\0", body[:end] + b"\xff" + body[end + 1 :], b"", bytes(8), b"\xff" * 8]
        )
    )
    flags = data.draw(st.sampled_from([flags, 0, ZSTD, PADDED, ZSTD | PADDED, COMPRESSION_MASK, 255]))
    python, kernel = same(lambda module: module.Unpacker(dictionary, tables).unpack(bytes((flags,)), [changed]))
    assert python == kernel


def test_lengths_that_a_body_declares():
    """A declared length beyond 64 MiB is refused before anything is allocated, and so are lists of unequal length."""
    for length in (0, 1, 2**26, 2**26 + 1, 2**31, 2**32 - 1):
        for flags in (ZSTD, PADDED, ZSTD | PADDED):
            body = length.to_bytes(4, "big") * 3
            same(lambda module, flags=flags, body=body: module.Unpacker(b"", b"").unpack(bytes((flags,)), [body]))
    for flags, bodies in ((b"", []), (b"\0", []), (b"", [b""]), (b"\0", [b"", b""])):
        same(lambda module, flags=flags, bodies=bodies: module.Unpacker(b"", b"").unpack(flags, bodies))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**65)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(ENDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@given(
    values=st.lists(JSON, min_size=15, max_size=18),
    attributes=JSON | st.dictionaries(st.text(max_size=3), JSON, max_size=3),
    flags=st.integers(0, 7),
    memo=st.binary(max_size=3),
)
@example(
    values=["w", True, None, None, None, 2**63 - 1, True, [2**63 - 1], True, *[None] * 5, True, True],
    attributes={},
    flags=1,
    memo=b"",
)
def test_records(values, attributes, flags, memo):
    """Any JSON in the place of a record gives the same record, or none."""
    try:
        text = orjson.dumps([*values, attributes])
    except TypeError:  # numbers that orjson does not write
        text = repr([*values, attributes]).encode()
    packed = (
        bytes((2, flags))
        + bytes(16) * (flags & 1)
        + bytes(range(16)) * (flags >> 1 & 1)
        + text.replace(b"\0", b"")
        + b"\0"
        + memo
    )
    assert read(lambda: unpack_record(packed)) == read(lambda: unpack_records([packed])[0])


def read(call):
    """Return a record with the types of its values; None if it is refused."""
    try:
        record = call()
    except DataLoss:
        return None
    return repr(record)


def test_signatures_name_the_same_arguments():
    """The kernel takes its arguments by position only. Python's names are those of the protocol in `ciphers.py`."""
    for protocol, method in (
        (ciphers.Cipher, "seal"),
        (ciphers.Cipher, "batch"),
        (ciphers.Tokens, "numbers"),
        (ciphers.Tokens, "prefixes"),
        (ciphers.Tokens, "exchange"),
        (ciphers.Tokens, "grouped"),
        (ciphers.Unpacker, "unpack"),
    ):
        python = getattr(getattr(python_cipher, protocol.__name__), method)
        assert list(inspect.signature(python).parameters) == list(
            inspect.signature(getattr(protocol, method)).parameters
        )
