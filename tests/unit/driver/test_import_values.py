"""Every field of both JSON forms of an import, with values at the ends and values that nobody means."""

from __future__ import annotations

import gzip
import json
from copy import deepcopy
from importlib.resources import files

import orjson
import pytest

from strongroom.driver.cli.show.output import moment
from strongroom.driver.importing.errors import ImportFileError
from strongroom.driver.importing.history_event import encode_batch, read_event
from strongroom.driver.importing.import_file import read_import_file
from strongroom.visibility.index.record_packing import pack_record, unpack_record
from tests.support.configuration import settings
from tests.unit.driver.test_import_file import shown

MARK = "S3cretWord"
VALUES = (
    *(f'"{MARK}{end}"' for end in ("\\ud800", "\\u0000", "\\u001b", MARK * 20_000)),
    *('"\\udfff"', '""', '" "', "null", "true", "[]", "{}", "0", "-1", "1.5", "1e2", "NaN", '"NaN"', '"-0"'),
    *(f"{sign}1{'0' * 400}" for sign in ("", "-")),
    *("1e400", "-1e400", str(2**64), str(2**63), str(2**63 - 1), str(-(2**63)), str(-(2**63) - 1)),
    *(f'"{number}"' for number in (2**64, 2**63, 2**63 - 1, -(2**63))),
    *(f'"{"9" * 5000}{unit}"' for unit in ("", "s")),  # more digits than `int` takes
    *('"315576000000s"', '"-1s"', f'{{"{MARK}": 1, "{MARK}": 2}}'),
    *("[" * 2000 + "]" * 2000, '{"a":' * 500 + "1" + "}" * 500),
    *('"9999-12-31T23:59:59.999999999Z"', '"0001-01-01T00:00:00Z"', '"1969-12-31T23:59:59.9Z"'),
    *('"2262-04-11T23:47:16.854775807Z"', '"2262-04-11T23:47:16.854775808Z"', '"1677-09-21T00:12:43.145224191Z"'),
)
MESSAGE = 1000


def own_form():
    """Return a document of the project's own form with two events."""
    with gzip.open(str(files("strongroom.driver.demo") / "sample/workflows.jsonl.gz")) as file:
        line = orjson.loads(file.readline())
    return {**line, "events": line["events"][:2]}


def with_value(document, path, raw):
    """Return the text of a document with the value at a path replaced by a raw text."""
    changed = deepcopy(document)
    node = changed
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = "@@"
    return json.dumps(changed).replace('"@@"', raw).encode()


DOCUMENTS = {"own": own_form(), "temporal": shown()}


@pytest.mark.parametrize(
    ("form", "path"),
    [(form, path) for form, document in DOCUMENTS.items() for path in settings(document)],
    ids=lambda value: value if isinstance(value, str) else ".".join(map(str, value)),
)
def test_a_value_is_read_or_refused_with_its_line(tmp_path, form, path):
    """What is accepted can be stored and shown. Nothing else than a fault of the file is raised, and it has no value in it."""
    file = tmp_path / "x.jsonl"
    for raw in VALUES:
        file.write_bytes(b"\n" + with_value(DOCUMENTS[form], path, raw))
        execution, refusal = outcome(file)
        for text in refusal:
            assert MARK not in text
        if execution is None:
            assert "line 2: " in refusal[0]
            assert len(refusal[0]) < MESSAGE
            continue
        assert unpack_record(b"".join(pack_record(execution.record))) == execution.record
        for event in execution.events:
            assert read_event(event.data) == event
            assert moment(event.time)


def outcome(file):
    """Return the execution of a file, or the texts of its refusal and of everything in the refusal's context."""
    try:
        return read_import_file(file)[0], ()
    except ImportFileError as error:
        texts, seen = [], error
        while seen is not None:
            texts.append(f"{seen}{getattr(seen, 'doc', '')}")
            seen = seen.__cause__ or seen.__context__
        return None, texts


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("1969-12-31T23:59:58.500Z", "1969-12-31 23:59:58.500"),
        ("0001-01-01T00:00:00Z", "1-01-01 00:00:00.000"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31 23:59:59.999"),
    ],
)
def test_the_times_of_events_are_those_of_the_file(tmp_path, time, text):
    """A time before 1970 is a negative number, which protobuf encodes as a large one."""
    history = shown()
    history["events"][1]["eventTime"] = time
    (tmp_path / "x").write_bytes(orjson.dumps(history))
    (execution,) = read_import_file(tmp_path / "x")
    assert moment(execution.events[1].time).endswith(text)


@pytest.mark.parametrize(
    "event",
    [
        b"\x08\x07\x12\x0b\x08" + b"\xff" * 8 + b"\x7f\x18\x01",
        b"\x08\x07\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x18\x01",
        b"\x08\x07\x12\x08\x08\x05\x10\xff\xff\xff\xff\x0f\x18\x01",
        b"\x08\x00\x12\x02\x08\x05\x18\x01",
        b"\x08" + b"\xff" * 9 + b"\x01\x12\x02\x08\x05\x18\x01",
        b"\x08\x07\x12\x02\x08\x05\x18" + b"\xff" * 5 + b"\x01",
        b"\x08" + b"\xff" * 11,
    ],
)
def test_an_event_beyond_the_ends_is_no_event(event):
    """Ids, types and times that no `HistoryEvent` can have are refused, so that a history with them can still be shown."""
    with pytest.raises(ValueError, match=r"^$"):
        read_event(event)
    assert encode_batch([]) == b""


@pytest.mark.parametrize("form", DOCUMENTS)
def test_a_file_that_ends_anywhere_is_refused(tmp_path, form):
    """A file that was cut, plain or compressed, is never read as a shorter one."""
    whole = orjson.dumps(DOCUMENTS[form])
    packed = gzip.compress(whole)
    for content in (whole, packed):
        for end in {1, 2, 10, *range(len(content) // 9, len(content), len(content) // 9), len(content) - 1}:
            (tmp_path / "x").write_bytes(content[:end])
            with pytest.raises(ImportFileError):
                read_import_file(tmp_path / "x")
