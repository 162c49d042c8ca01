from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from strongroom.kms import RecordKind
from strongroom.kms.sealing import record_kinds
from strongroom.kms.sealing.record_kinds import RECORD_KINDS, VISIBILITY_RECORD

FORMAT = (Path(__file__).parents[4] / "kms" / "FORMAT.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(\w+)`, `(\w+)` \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
PACKING = {
    "": (False, False, False),
    "zstd": (True, False, False),
    "padded": (False, False, True),
    "zstd with a dictionary and tables, padded": (True, True, True),
}


def specified_kinds():
    """Return the rows of the register in FORMAT.md: name, column, key parts with types, and packing."""
    section = FORMAT.split("## 9. Register of record kinds")[1].split("\nThe dictionary of")[0]
    for name, column, key, packing in ROW.findall(section):
        parts = [part.strip().split(" ", 1) for part in re.sub(r"\([^)]*\)", "", key).split(",")]
        yield name, column, [(part, type_) for type_, part in parts], PACKING[packing]


def test_the_register_and_the_specification_list_the_same_kinds():
    """`record_kinds.py` and FORMAT.md section 9 have the same kinds in the same order."""
    declared = [
        (
            kind.name,
            kind.column,
            [(part.replace("_", " "), type_.name) for part, type_ in zip(kind.part_names, kind.key, strict=True)],
            (kind.compress, bool(kind.dictionary and kind.tables), kind.padded),
        )
        for kind in RECORD_KINDS
    ]
    assert declared == list(specified_kinds())


def test_the_register_holds_every_declared_kind_once():
    """No kind is declared outside the register, and no two kinds have the same associated data."""
    declared = [value for value in vars(record_kinds).values() if isinstance(value, RecordKind)]
    assert declared == list(RECORD_KINDS)
    assert len({(kind.name, kind.column) for kind in RECORD_KINDS}) == len(RECORD_KINDS)


def test_the_specification_names_the_files_of_the_dictionary():
    """FORMAT.md has the SHA-256 of the dictionary and of the tables of visibility records."""
    for content in (VISIBILITY_RECORD.dictionary, VISIBILITY_RECORD.tables):
        assert f"`{sha256(content).hexdigest()}`" in FORMAT
