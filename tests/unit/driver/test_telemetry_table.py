from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from strongroom.driver.strongroom import Strongroom
from strongroom.driver.telemetry_attributes import (
    OTHER,
    STORES,
    attribute_values,
    closed,
    error_type,
    operations_of,
)
from strongroom.driver.telemetry_instruments import INSTRUMENTS
from strongroom.kms import IntegrityError
from strongroom.storage import ConditionFailed

if os.environ.get("REQUIRE_SERVICES") != "1":
    pytest.importorskip("opentelemetry.sdk", reason="no opentelemetry-sdk")

from tests.telemetry_probe import PAGE, Probe, alerts, prometheus_names


def test_the_page_has_the_table():
    """Each instrument is on the page as it is, and no other."""
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+) \| (\S+) \| (.*?) ?\| (.*?) \|$", PAGE.read_text(), re.MULTILINE)
    said = {name: (kind, unit, tuple(re.findall(r"`(.*?)`", keys)), text) for name, kind, unit, keys, text in rows}
    assert said == {
        each.name: (each.kind, each.unit, each.attributes, each.description) for each in INSTRUMENTS.values()
    }


def test_each_attribute_has_a_closed_list():
    """No instrument has an attribute whose values are not listed, and no list is open or empty."""
    used = {key for instrument in INSTRUMENTS.values() for key in instrument.attributes}
    assert used == attribute_values().keys()
    assert all(attribute_values().values())
    assert closed("strongroom.store", "history") == "history"
    assert closed("strongroom.store", "a tenant's") == OTHER


def test_each_store_is_watched():
    """Every field of a cell that has operations of its own is in the table, but for what is no store."""
    kept_out = {"config", "database", "by_key", "keyring", "outbox", "search_index", "indexer", "telemetry"}
    assert Strongroom.__dataclass_fields__.keys() - kept_out == STORES.keys()
    assert all(operations_of(store) for store in STORES.values())


def test_kinds_of_errors():
    """An error of ours is told by its class; one of somebody else is not, as its name may be anything."""
    assert error_type(IntegrityError()) == "IntegrityError"
    assert error_type(ConditionFailed()) == "ConditionFailed"
    assert error_type(type("Invented4711", (Exception,), {})()) == OTHER


def test_the_alerts_name_instruments():
    """Each rule asks for a metric that there is, by its name in Prometheus, and for labels that it has."""
    known = {name: each for each in INSTRUMENTS.values() for name in prometheus_names(each)}
    assert len(alerts()) >= 9
    for expression in alerts().values():
        (name,) = re.findall(r"(?:strongroom|db)_\w+", expression)
        labels = set(re.findall(r'(\w+)!?="', expression))
        assert labels <= {key.replace(".", "_") for key in known[name].attributes}, expression


async def test_memory_does_not_grow_with_values():
    """What is in no list is not kept, so nobody fills the memory by inventing values."""
    probe = Probe.make()
    for number in range(100):
        with probe.telemetry.operation("history", f"invented {number}"):
            pass
    assert len(probe.telemetry._emit._attributes) == 0
    assert probe.value("strongroom.operation.duration", strongroom__operation=OTHER) == 100


def test_nothing_is_needed_where_nobody_watches():
    """Without the extra every package is imported and a cell can be opened: only the module of the telemetry itself needs it."""
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import strongroom.kms, strongroom.storage, strongroom.visibility, strongroom.driver.strongroom, strongroom.driver.cli\n"
        "try:\n"
        "    import strongroom.driver.telemetry\n"
        "except ImportError:\n"
        "    print('needed')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "needed"  # the control
