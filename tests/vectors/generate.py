"""Write the frozen vectors of the sealed format: one JSON file per case, in the folder `sealed/`.

Run it as `python -m tests.vectors.generate [FOLDER]`. It writes the same bytes on every run, because root keys are fixed
and nonces are drawn from SHAKE-128 of the values that are sealed. A file that exists is a promise about stored rows.
A change of this program may add files, but it must not change a file.

A file has these fields:

    name, what    the name of the case, and its description
    cell, namespace, kind, key    the identity of the row; key parts of type BYTES and ID are in hex
    keys          the data keys of the namespace: version, suite, root in hex, state
    sealed        the sealed value in hex
    plaintext     the plaintext in hex, for a value that opens
    error         the name of the error that opening the value raises, for a value that is refused
    control       the fields that differ in a value that opens, for a value that is refused
    region        the region of the cell; absent if the cell has none
    zstd          the version of libzstd that compressed the plaintext; another version may write other bytes
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from strongroom.kms import PartType, RecordKind, Suite
from strongroom.kms.sealing import packing
from strongroom.kms.sealing.header import PADDED, ZSTD
from strongroom.kms.sealing.packing import padme
from tests.support.kms.vector_cases import (
    ID,
    OTHER_CELL,
    OTHER_NAMESPACE,
    OTHER_REGION,
    PLAINTEXT,
    REGION,
    described,
    flip,
    key_of,
    key_parts,
    kind,
    kind_of,
    padded_body,
    put,
    refused,
    refused_body,
    refused_bytes,
    runs,
    seal_batch,
    sealed_row,
    valid,
    zstd_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    Case = dict[str, Any]

SEALED = Path(__file__).parent / "sealed"

TEXT = b'{"event":"WorkflowTaskScheduled","attempt":1,"queue":"payments"}' * 20
DICTIONARY = b'{"event":"WorkflowTaskCompleted","attempt":,"queue":"payments"}'
TABLES = (Path(__file__).parents[2] / "kms" / "sealing" / "visibility_dictionary_tables.bin").read_bytes()
SHORT = TEXT[1:65]
"""The plaintext of the cases with tables. It differs from the others, because the nonce depends on the text but not on the tables."""

HEADER_BYTES = 8
NONCE_AT = HEADER_BYTES
CIPHERTEXT_AT = HEADER_BYTES + 24
TAG_BYTES = 16
DICTIONARY_ID_AT = 4 + 5
"""The offset in a compressed body, after the length, the frame's magic number and its descriptor."""
LIMIT = 64 * 2**20


def cases() -> Iterator[Case]:
    """Yield all cases, in the order of this file."""
    yield from what_opens()
    yield from wrong_headers()
    yield from altered_bytes()
    yield from moved_values()
    yield from bound_values()
    yield from unusable_keys()
    yield from wrong_padding()
    yield from wrong_compression()


# --- values that open


def what_opens() -> Iterator[Case]:
    """Yield one case for each way to seal."""
    yield valid("suite_1", "AES-256-GCM under a random nonce", suite=Suite.AES_256_GCM)
    yield valid("suite_2", "XAES-256-GCM")
    yield valid("empty_plaintext", "a sealed value of no bytes", plaintext=b"")
    yield valid("empty_plaintext_suite_1", "the same in suite 1", plaintext=b"", suite=Suite.AES_256_GCM)
    yield valid("key_version_2", "the second version of the key, beside the first", version=2)
    yield valid("key_version_highest", "the highest version that the header can name", version=2**32 - 1)

    # The nonce counter starts two below 2^96, so the third row of the batch has a counter of zero.
    start = hashlib.shake_128(b"nonce counter wraps").digest(12) + b"\xff" * 11 + b"\xfe"
    keys = [(ID, number) for number in range(3)]
    batch = seal_batch([(key, PLAINTEXT) for key in keys], draw=lambda _count: start)
    for position, (key, sealed) in enumerate(zip(keys, batch, strict=True), start=1):
        what = f"row {position} of a batch whose nonce counter passes 2^96 - 1 at row 2 and goes on at 0"
        yield valid(f"nonce_counter_wraps_{position}", what, key=key, sealed=sealed)

    yield valid("compressed", "zstd saves a tenth or more", kind=kind(compress=True), plaintext=TEXT)
    yield valid("compressed_suite_1", "in suite 1", kind=kind(compress=True), plaintext=TEXT, suite=Suite.AES_256_GCM)
    yield valid("compression_not_tried", "too short to be compressed", kind=kind(compress=True), plaintext=TEXT[:512])
    noise = hashlib.shake_128(b"noise").digest(600)
    yield valid("compression_not_kept", "zstd would save nothing", kind=kind(compress=True), plaintext=noise)
    yield valid("padded", "padded to a Padmé length", kind=kind(padded=True), plaintext=TEXT)
    yield valid("padded_empty", "a padded value of no bytes", kind=kind(padded=True), plaintext=b"")
    both = kind(compress=True, padded=True)
    yield valid("compressed_padded", "compressed, then padded", kind=both, plaintext=TEXT)
    with_dictionary = kind(compress=True, dictionary=DICTIONARY)
    yield valid("dictionary", "a short text, compressed with a dictionary", kind=with_dictionary, plaintext=TEXT[:64])
    yield valid(
        "dictionary_padded",
        "compressed with a dictionary, then padded",
        kind=kind(compress=True, dictionary=DICTIONARY, padded=True),
        plaintext=TEXT[:64],
    )

    with_tables = kind(compress=True, dictionary=DICTIONARY, tables=TABLES)
    yield valid("tables", "compressed with a dictionary that has entropy tables", kind=with_tables, plaintext=SHORT)
    yield valid(
        "tables_padded",
        "compressed with a dictionary that has entropy tables, then padded",
        kind=kind(compress=True, dictionary=DICTIONARY, tables=TABLES, padded=True),
        plaintext=SHORT,
    )
    earlier = sealed_row(with_dictionary, plaintext=TEXT[:65])
    what = "compressed with the dictionary alone, of a kind that has entropy tables too"
    yield valid("tables_not_named", what, kind=with_tables, sealed=earlier, plaintext=TEXT[:65])
    parts = (SHORT, b"", TEXT)
    in_parts = sealed_row(with_tables, packed=packing.pack(with_tables, parts))
    what = "three parts, one of them empty: each of the others is a frame of its own, with and without tables"
    yield valid("parts", what, kind=with_tables, sealed=in_parts, plaintext=b"".join(parts))

    for name, what, key_types, key in (
        ("key_bytes", "a key part of bytes", (PartType.BYTES,), (b"\x00\xff bytes",)),
        ("key_bytes_empty", "a key part of no bytes", (PartType.BYTES,), (b"",)),
        ("key_int64", "a key part that is a number", (PartType.INT64,), (42,)),
        ("key_int64_lowest", "the lowest number", (PartType.INT64,), (-(2**63),)),
        ("key_int64_highest", "the highest number", (PartType.INT64,), (2**63 - 1,)),
        ("key_text", "a key part of text, in UTF-8 as it is", (PartType.TEXT,), ("Stra\u00dfe \u2192 \U0001f511",)),
        ("key_id", "a key part that is an id", (PartType.ID,), (ID,)),
        ("key_all_types", "one part of each type", tuple(PartType), (b"b", -1, "t", ID)),
        ("key_none", "a key of no parts", (), ()),
    ):
        yield valid(name, what, kind=RecordKind("history_event", "data", key_types), key=key)


# --- values with a wrong header


def wrong_headers() -> Iterator[Case]:
    """Yield one case for each field of the header."""
    good = sealed_row()
    unsupported = "UnsupportedFormat"
    yield refused_bytes("magic_wrong", "the first byte is not 0x07", unsupported, put(good, 0, 0x08), good)
    yield refused_bytes("version_unknown", "format version 2", unsupported, put(good, 1, 2), good)
    yield refused_bytes("version_zero", "format version 0", unsupported, put(good, 1, 0), good)
    yield refused_bytes("suite_unknown", "suite 3", unsupported, put(good, 2, 3), good)
    yield refused_bytes("suite_zero", "suite 0", unsupported, put(good, 2, 0), good)
    yield refused_bytes("suite_swapped", "a value of suite 2 says suite 1", "IntegrityError", put(good, 2, 1), good)
    suite_1 = sealed_row(suite=Suite.AES_256_GCM)
    yield refused_bytes(
        "suite_swapped_1",
        "a value of suite 1 says suite 2",
        "IntegrityError",
        put(suite_1, 2, 2),
        suite_1,
        keys=[key_of(1, Suite.AES_256_GCM)],
    )
    for bit in (4, 5, 6, 7):
        name = f"flags_reserved_bit_{bit}"
        yield refused_bytes(name, f"bit {bit} of the flags is set", unsupported, put(good, 3, 1 << bit), good)
    for number in range(2, 8):
        name = f"flags_compression_unknown_{number}"
        yield refused_bytes(name, f"compression {number}", unsupported, put(good, 3, number), good)

    padded = kind(padded=True)
    padded_row = sealed_row(kind=padded)
    what = "the padded bit of a padded value is cleared"
    yield refused_bytes("flag_cleared", what, "IntegrityError", put(padded_row, 3, 0), padded_row, kind=padded)
    what = "the padded bit of a value without padding is set"
    yield refused_bytes("flag_set", what, "IntegrityError", put(good, 3, PADDED), good)
    what = "a value that is not compressed says zstd"
    yield refused_bytes("flag_compression_set", what, "IntegrityError", put(good, 3, ZSTD), good)

    def numbered(version: int) -> bytes:
        return good[:4] + struct.pack(">I", version) + good[8:]

    yield refused_bytes("key_version_zero", "key version 0", unsupported, numbered(0), good)
    what = "a version that the namespace does not have"
    yield refused_bytes("key_version_unknown", what, "KeyNotFound", numbered(9), good)
    what = "sealed under version 1, says version 2, which the namespace has too"
    both = [key_of(1), key_of(2)]
    yield refused_bytes("key_version_other", what, "IntegrityError", numbered(2), good, keys=both)


# --- values with altered bytes


def altered_bytes() -> Iterator[Case]:
    """Yield cases with flipped, missing and added bytes."""
    good = sealed_row()
    integrity, unsupported = "IntegrityError", "UnsupportedFormat"
    yield refused_bytes("nonce_flipped", "first byte of the nonce", integrity, flip(good, NONCE_AT), good)
    yield refused_bytes("nonce_tail_flipped", "last byte of the nonce", integrity, flip(good, CIPHERTEXT_AT - 1), good)
    yield refused_bytes("ciphertext_flipped", "first byte of the text", integrity, flip(good, CIPHERTEXT_AT), good)
    yield refused_bytes("tag_flipped", "last byte of the tag", integrity, flip(good, len(good) - 1), good)
    yield refused_bytes("tag_truncated", "the last byte of the tag is missing", integrity, good[:-1], good)
    yield refused_bytes("tag_truncated_to_12", "a tag of 12 bytes", integrity, good[:-4], good)
    yield refused_bytes("tag_absent", "no tag at all", integrity, good[:-TAG_BYTES], good)
    yield refused_bytes("ciphertext_truncated", "the text is a byte short", integrity, good[:32] + good[33:], good)
    yield refused_bytes("nonce_truncated", "ends within the nonce", integrity, good[: CIPHERTEXT_AT - 1], good)
    yield refused_bytes("nonce_tail_absent", "ends after 12 bytes of nonce", integrity, good[:20], good)
    yield refused_bytes("header_only", "ends after the header", integrity, good[:HEADER_BYTES], good)
    yield refused_bytes("header_truncated", "ends within the header", unsupported, good[: HEADER_BYTES - 1], good)
    yield refused_bytes("empty", "no bytes", unsupported, b"", good)
    yield refused_bytes("appended_byte", "a zero byte too many", integrity, good + b"\x00", good)
    yield refused_bytes("prepended_byte", "a byte before the magic one", unsupported, b"\x00" + good, good)
    yield refused_bytes("plaintext_unsealed", "the plaintext as it is", unsupported, PLAINTEXT, good)

    suite_1 = sealed_row(suite=Suite.AES_256_GCM)
    keys = [key_of(1, Suite.AES_256_GCM)]
    for name, what, sealed in (
        ("suite_1_nonce_flipped", "first byte of the nonce", flip(suite_1, NONCE_AT)),
        ("suite_1_ciphertext_flipped", "first byte of the text", flip(suite_1, HEADER_BYTES + 12)),
        ("suite_1_tag_flipped", "last byte of the tag", flip(suite_1, len(suite_1) - 1)),
        ("suite_1_tag_truncated", "the last byte of the tag is missing", suite_1[:-1]),
        ("suite_1_header_only", "ends after the header", suite_1[:HEADER_BYTES]),
    ):
        yield refused_bytes(name, f"{what}, in suite 1", integrity, sealed, suite_1, keys=keys)


# --- values in another row


def moved_values() -> Iterator[Case]:
    """Yield cases of unaltered values that were moved to another row."""
    good = sealed_row()
    here = described(sealed=good)
    for name, what, there in (
        ("other_cell", "another cell", {"cell": OTHER_CELL.hex}),
        ("other_namespace", "another namespace, of the same keys", {"namespace": OTHER_NAMESPACE.hex}),
        ("other_kind", "another kind", {"kind": kind_of(kind(name="history_branch"))}),
        ("other_column", "another column", {"kind": kind_of(kind(column="header"))}),
        ("other_key_part", "another row", {"key": key_parts((ID, 8))}),
        ("other_key_part_first", "another parent", {"key": key_parts((bytes(16), 7))}),
    ):
        yield refused(name, f"carried to {what}", "IntegrityError", {**here, **there}, there)

    texts = RecordKind("search", "value", (PartType.TEXT, PartType.TEXT))
    resplit = sealed_row(kind=texts, key=("ab", "c"))
    moved = {"key": key_parts(("a", "bc"))}
    yield refused(
        "key_parts_resplit",
        "two parts of text with another split between them",
        "IntegrityError",
        {**described(sealed=resplit, kind=texts, key=("ab", "c")), **moved},
        moved,
        control={"key": key_parts(("ab", "c"))},
    )
    one_name = RecordKind("ab", "c", ())
    named = sealed_row(kind=one_name, key=())
    moved = {"kind": kind_of(RecordKind("a", "bc", ()))}
    yield refused(
        "kind_names_resplit",
        "the kind's name and column with another split between them",
        "IntegrityError",
        {**described(sealed=named, kind=one_name, key=()), **moved},
        moved,
        control={"kind": kind_of(one_name)},
    )
    as_bytes = RecordKind("search", "value", (PartType.BYTES,))
    typed = sealed_row(kind=as_bytes, key=(b"same",))
    moved = {"kind": kind_of(RecordKind("search", "value", (PartType.TEXT,))), "key": ["same"]}
    yield refused(
        "other_part_type",
        "the same bytes as a key part of another type",
        "IntegrityError",
        {**described(sealed=typed, kind=as_bytes, key=(b"same",)), **moved},
        moved,
        control={"kind": kind_of(as_bytes), "key": key_parts((b"same",))},
    )
    other = put(sealed_row(version=2), 7, 1)
    what = "sealed under another root, says the version that is here"
    yield refused_bytes("other_root", what, "IntegrityError", other, good)


# --- values of a cell with a region


def bound_values() -> Iterator[Case]:
    """Yield cases of a cell that is bound to a region, with the right and with another region."""
    plain = sealed_row()
    bound = sealed_row(region=REGION)
    there = {**described(sealed=bound), "region": REGION}
    yield {"name": "region", "what": "a cell that is bound to a region", **there, "plaintext": PLAINTEXT.hex()}
    control = {"region": REGION}
    for name, what, moved in (
        ("region_other", "carried to the same cell in another region", {"region": OTHER_REGION}),
        ("region_absent", "carried to the same cell without a region", {"region": None}),
    ):
        yield refused(name, what, "IntegrityError", {**there, **moved}, moved, control=control)
    what = "sealed without a region, carried to the same cell with one"
    case = {**described(sealed=plain), "region": REGION}
    yield refused("region_added", what, "IntegrityError", case, {}, control={"region": None})


# --- values whose key is not active


def unusable_keys() -> Iterator[Case]:
    """Yield cases of unaltered values, one for each state of the key."""
    here = described(sealed=sealed_row())
    for name, error, state in (
        ("key_destroyed", "KeyDestroyed", "destroyed"),
        ("key_disabled", "KeyDisabled", "disabled"),
        ("key_pending", "KeyNotFound", "pending"),
    ):
        there = {"keys": [{**key_of(1), "state": state}]}
        yield refused(name, f"its key is {state}", error, {**here, **there}, there)
    retired = [{**key_of(1), "state": "decrypt_only"}]
    what = "its key only opens since it was rotated"
    yield {**here, "keys": retired, "name": "key_decrypt_only", "what": what, "plaintext": PLAINTEXT.hex()}


# --- values with a valid tag and a wrong body, which only a holder of the key can make


def wrong_padding() -> Iterator[Case]:
    """Yield cases of padded bodies that no writer produces."""
    padded = kind(padded=True)
    body = struct.pack(">I", 40) + b"p" * 40
    size = padme(len(body)) + 4  # of a longer text, so that the body has padding
    body = struct.pack(">I", size - 5) + b"p" * (size - 5)
    right = body + bytes(padme(len(body)) - len(body))
    assert len(right) > len(body)  # otherwise the body has no padding
    short_of_it = body + bytes(padme(len(body)) - len(body) - 1)
    for name, what, spoilt in (
        ("padding_not_zero", "the last byte of the padding is 1", right[:-1] + b"\x01"),
        ("padding_not_padme", "four bytes of padding too many", right + bytes(4)),
        ("padding_short", "a byte of padding too few", short_of_it),
        ("length_too_long", "the length is of more bytes than there are", struct.pack(">I", len(right)) + right[4:]),
        ("length_highest", "the length is 2^32 - 1", b"\xff" * 4 + right[4:]),
        ("length_too_short", "the length leaves text in the padding", struct.pack(">I", 3) + right[4:]),
        ("length_absent", "three bytes where a length of four is due", right[:3]),
    ):
        yield refused_body(name, what, padded, PADDED, spoilt, right, b"p" * (size - 5))


def wrong_compression() -> Iterator[Case]:
    """Yield cases of compressed bodies that no writer produces."""
    compressed = kind(compress=True)
    text = b"z" * 1000
    right = struct.pack(">I", 1000) + zstd_frame(1000, runs(1000))
    thousand = struct.pack(">I", 1000)
    over = LIMIT + 1
    for name, what, spoilt in (
        ("zstd_bomb", "64 MiB and a byte, said truly", struct.pack(">I", over) + zstd_frame(over, runs(over))),
        ("zstd_bomb_understated", "1,000 bytes, and a frame of 64 MiB", thousand + zstd_frame(LIMIT, runs(LIMIT))),
        ("zstd_bomb_hidden", "1,000 bytes, said by the frame too, of 1 MiB", thousand + zstd_frame(1000, runs(2**20))),
        ("zstd_size_too_high", "a length of 1,001", struct.pack(">I", 1001) + right[4:]),
        ("zstd_size_too_low", "a length of 999", struct.pack(">I", 999) + right[4:]),
        ("zstd_content_short", "a frame of 999 bytes that says 1,000", thousand + zstd_frame(1000, runs(999))),
        ("zstd_trailing_bytes", "a byte after the frame", right + b"\x00"),
        ("zstd_second_frame", "a frame after the frame", right + zstd_frame(1000, runs(1000))),
        ("zstd_no_content_size", "a frame that does not say its length", thousand + zstd_frame(None, runs(1000))),
        ("zstd_not_a_frame", "not zstd", thousand + text),
        ("zstd_frame_truncated", "a frame that ends early", right[:-1]),
        ("zstd_frame_absent", "a length and nothing after it", thousand),
        ("zstd_length_absent", "three bytes where a length of four is due", right[:3]),
    ):
        yield refused_body(name, what, compressed, ZSTD, spoilt, right, text)

    compressed = kind(compress=True)
    two = struct.pack(">I", 9) + zstd_frame(4, [4]) + zstd_frame(5, [5])
    for name, what, body in (
        ("parts_too_long", "the second part is longer than the declared length", put(two, 3, 8)),
        ("parts_too_short", "the parts are shorter than the declared length", put(two, 3, 10)),
        ("part_empty", "a part without content", struct.pack(">I", 4) + zstd_frame(0, [0]) + zstd_frame(4, [4])),
        ("part_truncated", "the second part ends early", two[:-1]),
    ):
        yield refused_body(name, what, compressed, ZSTD, body, two, b"z" * 9)
    alone = kind(compress=True, dictionary=DICTIONARY)
    with_tables = kind(compress=True, dictionary=DICTIONARY, tables=TABLES)
    zstd = {"zstd": ".".join(map(str, zstandard.ZSTD_VERSION))}
    _, named = packing.pack(with_tables, SHORT)
    _, unnamed = packing.pack(alone, SHORT)
    what = "a frame that names a dictionary which the kind does not have"
    yield refused_body("tables_other", what, with_tables, ZSTD, put(named, DICTIONARY_ID_AT, 2), named, SHORT) | zstd
    yield refused_body("tables_absent", what, alone, ZSTD, named, unnamed, SHORT) | zstd

    both = kind(compress=True, padded=True)
    inner = struct.pack(">I", 1001) + right[4:]
    yield refused_body(
        "zstd_size_too_high_padded",
        "a length of 1,001 within right padding",
        both,
        ZSTD | PADDED,
        padded_body(inner),
        padded_body(right),
        text,
    )


def write(folder: Path) -> None:
    """Write one file for each case.

    Raises:
        ValueError: two cases have the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = set()
    for case in cases():
        if case["name"] in names:
            raise ValueError(case["name"])
        names.add(case["name"])
        ordered = {"name": case["name"], "what": case["what"], **case}
        (folder / f"{case['name']}.json").write_text(json.dumps(ordered, indent=2, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else SEALED)
