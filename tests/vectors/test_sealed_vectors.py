from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

import pytest
import zstandard

import strongroom.kms
from strongroom.kms import (
    KeyClass,
    KeyState,
    NamespaceKeys,
    PartType,
    RecordKind,
    Secret,
    StrongroomError,
    Suite,
    bound_cell_id,
)
from strongroom.kms.keys.data_key import DataKey
from strongroom.kms.keys.versions import unusable
from strongroom.kms.sealing import header, packing
from tests.vectors import generate

pytestmark = pytest.mark.usefixtures("cipher")

HERE = Path(__file__).parent
FILES = sorted((HERE / "sealed").glob("*.json"))
CASES = {path.stem: json.loads(path.read_text()) for path in FILES}
OPENING = {name: case for name, case in CASES.items() if "plaintext" in case}
REFUSED = {name: case for name, case in CASES.items() if "error" in case}


def open_case(case):
    """Open a case's value with the fields of its file only."""
    data = {
        key["version"]: unusable(KeyState(key["state"]))
        or DataKey(Secret(bytes.fromhex(key["root"])), version=key["version"], suite=Suite(key["suite"]))
        for key in case["keys"]
    }
    keys = NamespaceKeys(
        cell_id=bound_cell_id(UUID(case["cell"]), case.get("region")),
        namespace_id=UUID(case["namespace"]),
        data=data,
        index={},
        identity={},
        active={},
    )
    kind = RecordKind(
        case["kind"]["name"],
        case["kind"]["column"],
        tuple(PartType[part] for part in case["kind"]["key"]),
        compress=case["kind"]["compress"],
        dictionary=bytes.fromhex(case["kind"]["dictionary"]),
        tables=bytes.fromhex(case["kind"].get("tables", "")),
        padded=case["kind"]["padded"],
    )
    key = tuple(
        bytes.fromhex(part) if part_type in {PartType.BYTES, PartType.ID} else part
        for part_type, part in zip(kind.key, case["key"], strict=True)
    )
    return keys.open(kind, key, bytes.fromhex(case["sealed"]))


@pytest.mark.parametrize("name", OPENING)
def test_frozen_value_opens(name):
    """A value that a released version sealed opens to the same bytes."""
    assert open_case(OPENING[name]) == bytes.fromhex(OPENING[name]["plaintext"])


@pytest.mark.parametrize("name", REFUSED)
def test_frozen_value_is_refused(name):
    """Each altered or moved value raises exactly the error class that the format names."""
    case = REFUSED[name]
    expected = getattr(strongroom.kms, case["error"])
    with pytest.raises(StrongroomError) as refusal:
        open_case(case)
    assert type(refusal.value) is expected


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_for_the_stated_reason(name):
    """A refused value opens if the fields in its `control` are corrected."""
    case = REFUSED[name]
    changed = {field for field in case["control"] if field in case and case[field] != case["control"][field]}
    assert changed
    assert open_case({**case, **case["control"]}) == bytes.fromhex(case["control"]["plaintext"])


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name]["error"] == "IntegrityError"])
def test_refusal_does_not_tell_why(name):
    """All refusals by the cipher or the packing have the same message, so that a forger learns nothing."""
    with pytest.raises(strongroom.kms.IntegrityError) as refusal:
        open_case(REFUSED[name])
    assert refusal.value.args == strongroom.kms.IntegrityError().args


def test_bytes_after_an_empty_frame_are_refused():
    """A compressed body without content is refused if bytes follow its frame."""
    kind = RecordKind("record", "data", (), compress=True)
    body = bytes(4) + zstandard.ZstdCompressor().compress(b"") + b"trailing"
    with pytest.raises(strongroom.kms.IntegrityError):
        packing.Unpacker(kind.dictionary, kind.tables).unpack(bytes([header.ZSTD]), [body])


def test_another_dictionary_is_refused():
    """A record whose kind has another dictionary is refused."""
    text = b'{"event":"WorkflowTaskCompleted","queue":"payments"}'
    theirs = RecordKind("record", "data", (), compress=True, dictionary=text)
    ours = RecordKind("record", "data", (), compress=True, dictionary=text.replace(b"payments", b"invoices"))
    key = DataKey(Secret(bytes(32)), version=1, suite=Suite.XAES_256_GCM)
    keys = NamespaceKeys(
        cell_id=UUID(int=1),
        namespace_id=UUID(int=2),
        data={1: key},
        index={},
        identity={},
        active={KeyClass.DATA: 1},
    )
    sealed = keys.seal(theirs, (), text)
    assert sealed[3] == header.ZSTD  # otherwise no dictionary was used
    assert keys.open(theirs, (), sealed) == text
    with pytest.raises(strongroom.kms.IntegrityError):
        keys.open(ours, (), sealed)


def test_vectors_are_there():
    """Each file is one case with the file's name, and each error of opening has a case."""
    assert len(OPENING) >= 20
    assert len(REFUSED) >= 30
    assert OPENING.keys() | REFUSED.keys() == CASES.keys()
    assert not OPENING.keys() & REFUSED.keys()
    assert all(case["name"] == name for name, case in CASES.items())
    errors = {"IntegrityError", "UnsupportedFormat", "KeyNotFound", "KeyDestroyed", "KeyDisabled"}
    assert {case["error"] for case in REFUSED.values()} == errors


def test_counter_of_frozen_batch_wraps():
    """The last twelve bytes of a batch's nonces count modulo 2^96, and the first twelve are constant."""
    nonces = [bytes.fromhex(CASES[f"nonce_counter_wraps_{row}"]["sealed"])[8:32] for row in (1, 2, 3)]
    assert {nonce[:12] for nonce in nonces} == {nonces[0][:12]}
    assert [nonce[12:] for nonce in nonces] == [b"\xff" * 11 + b"\xfe", b"\xff" * 12, bytes(12)]


def test_generator_reproduces_the_files(tmp_path):
    """This version seals to the bytes of the files if it has the same keys and nonces.

    A compressed case is skipped if another version of libzstd wrote it, because it may compress to other bytes.
    """
    generate.write(tmp_path)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made.keys() == {path.name for path in FILES}
    zstd = ".".join(map(str, zstandard.ZSTD_VERSION))
    for path in FILES:
        if CASES[path.stem].get("zstd", zstd) == zstd:
            assert made[path.name] == path.read_bytes(), path.name
