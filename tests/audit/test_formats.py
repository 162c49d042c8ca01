"""Hostile strings survive each form: independent parsers read them back, and the chain verifies from the form."""

from __future__ import annotations

import json
import re

import pycef
import pytest

from strongroom.driver.audit import verify_records
from strongroom.driver.audit.formats import FORMATS
from strongroom.driver.audit.reader import read_lines
from strongroom.driver.audit.stream import parse
from strongroom.driver.stores import OPERATIONS
from tests.support.audit.logs import HOSTILE, KEY, write_log

# Attributes that OCSF 1.6.0 requires of API Activity and of the objects in it (ocsf-schema: events/application/api_activity.json).
REQUIRED = {
    "": {
        "activity_id",
        "actor",
        "api",
        "category_uid",
        "class_uid",
        "metadata",
        "severity_id",
        "src_endpoint",
        "time",
        "type_uid",
    },
    "metadata": {"product", "version"},
    "api": {"operation"},
}


@pytest.fixture
async def hostile_log(tmp_path):
    """Return the lines of a log that has each hostile string several times."""
    await write_log(tmp_path / "log", 3 * len(HOSTILE))
    return list(read_lines(tmp_path / "log"))


def written(lines, form):
    """Return fields, record and form of each line."""
    for line in lines:
        fields = parse(line)[0]
        yield fields, line.rstrip(b"\n"), FORMATS[form](fields, line, "host-1")


def assert_whole(records, lines):
    """Assert that records are the log, byte for byte, and verify."""
    assert [record.encode() for record in records] == [line.rstrip(b"\n") for line in lines]
    assert verify_records([record.encode() for record in records], public_key=KEY.public_key).ok


def test_json_lines(hostile_log):
    """A line of JSON Lines is the record itself."""
    assert_whole([made.decode() for _, _, made in written(hostile_log, "jsonl")], hostile_log)


def test_ocsf(hostile_log):
    """Python's parser reads OCSF with every attribute that the schema requires, and the record in `raw_data`."""
    records = []
    for fields, _, made in written(hostile_log, "ocsf"):
        assert b"\n" not in made
        told = json.loads(made)
        for path, required in REQUIRED.items():
            assert required <= (told[path] if path else told).keys()
        assert told["type_uid"] == told["class_uid"] * 100 + told["activity_id"]
        assert told["metadata"]["version"] == "1.6.0"
        if "source" in fields:
            assert told["src_endpoint"]["name"] == fields["source"]
            assert told["actor"]["user"]["name"] == fields["principal"]
            assert (told["activity_id"], told["status_id"]) == (2, 1)
        records.append(told["raw_data"])
    assert_whole(records, hostile_log)


def test_cef(hostile_log):
    """The parser pycef reads CEF: one line for each record, and the record in `rawEvent`."""
    records = []
    for fields, _, made in written(hostile_log, "cef"):
        text = made.decode()
        assert text.isprintable() or set(text) - set(filter(str.isprintable, text)) <= {"\u2028", "\u2029"}
        told = pycef.parse(text)
        assert told["DeviceEventClassID"] == fields.get("operation", f"audit.{fields['event']}")
        assert told["externalId"] == f"{fields['stream']}/{fields['sequence']}"
        assert "forged" not in (told["act"], told["outcome"])
        records.append(_unescaped(told["rawEvent"]))
    assert_whole(records, hostile_log)


def test_syslog_lines_hold_the_record(hostile_log):
    """Message and structured data follow the grammar of RFC 5424. In test_export.py a real collector reads them."""
    form = re.compile(
        rb'<(\d+)>1 (\S+) (\S+) (\S+) (\S+) (\S+) (\[[^ ]+(?: [^=]+="(?:[^"\\\]]|\\["\\\]])*")*\]) (.*)', re.DOTALL
    )
    records = []
    for _, _, made in written(hostile_log, "syslog"):
        found = form.fullmatch(made)
        assert found, made
        assert not re.search(rb"[\x00-\x1f\x7f]", made)
        records.append(found[8].decode())
    assert_whole(records, hostile_log)


def test_every_operation_has_an_activity():
    """No operation has the activity "other"."""
    for operation in OPERATIONS:
        fields = {"stream": "s", "sequence": 1, "event": "intent", "operation": operation}
        assert json.loads(FORMATS["ocsf"](fields, b"{}", "h"))["activity_id"] in (1, 2, 3, 4)


def _unescaped(text):
    """Undo CEF's escapes of a value, which the parser does not do."""
    return re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), text)
