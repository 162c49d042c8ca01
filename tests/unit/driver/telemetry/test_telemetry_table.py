from __future__ import annotations

import inspect
import re
import subprocess
import sys
from asyncio import CancelledError
from dataclasses import fields
from typing import get_args

from strongroom.driver.access import PermissionDenied
from strongroom.driver.audit import AuditUnavailable
from strongroom.driver.config import KmsConfig
from strongroom.driver.stores import STORE_OPERATIONS
from strongroom.driver.telemetry.attributes import (
    OTHER,
    RECONCILER,
    TOKEN_VERIFIER,
    attribute_values,
    closed,
    error_type,
)
from strongroom.driver.telemetry.emitter import Emitter
from strongroom.driver.telemetry.gauges import Gauges
from strongroom.driver.telemetry.instruments import INSTRUMENTS
from strongroom.kms import IntegrityError
from strongroom.storage import ConditionFailed
from tests.support.telemetry_probe import Probe, reported_call
from tests.support.tree import ROOT


def test_the_page_has_the_table():
    """The page has each instrument as it is, and no other."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| ([\w ]+) \| `(\S+)` \| (.*?) ?\| (.*?) \|$", page, re.MULTILINE)
    said = {name: (kind, unit, tuple(re.findall(r"`(.*?)`", keys)), text) for name, kind, unit, keys, text in rows}
    assert said == {
        each.name: (each.kind.replace("_", " "), each.unit, each.attributes, each.description)
        for each in INSTRUMENTS.values()
    }


def test_each_attribute_has_a_closed_list():
    """Every attribute of an instrument has a closed list, and no list is empty."""
    used = {key for instrument in INSTRUMENTS.values() for key in instrument.attributes}
    assert used == attribute_values().keys()
    assert all(attribute_values().values())
    assert closed("strongroom.store", "history") == "history"
    assert closed("strongroom.store", "a tenant's") == OTHER


def test_each_operation_of_the_table_is_listed():
    """Each operation of a store is reported by its name, and never as `_OTHER`; so are the checks of the search index."""
    for operation in STORE_OPERATIONS.values():
        assert closed("strongroom.store", operation.area) == operation.area
        assert closed("strongroom.operation", operation.method) == operation.method
    for check in (RECONCILER, TOKEN_VERIFIER):
        assert [operation.method for operation in check.operations] == coroutines(check.type)
        assert closed("strongroom.store", check.name) == check.name
        assert closed("strongroom.operation", "run") == "run"


def coroutines(store):
    """Return the names of a class's public coroutines."""
    return [name for name, _ in inspect.getmembers(store, inspect.iscoroutinefunction) if not name.startswith("_")]


def test_each_batch_of_the_table_is_listed():
    """Statements that calls share are reported by the database function that they call."""
    batches = {operation.batch for operation in STORE_OPERATIONS.values()} - {""}
    assert len(batches) == 8
    assert batches == attribute_values()["db.operation.name"]


def test_a_kms_is_told_by_its_type():
    """The types of KMS are those of the configuration."""
    types = [field for kind in get_args(KmsConfig) for field in fields(kind) if field.name == "type"]
    assert attribute_values()["strongroom.kms.type"] == {field.default for field in types}


def test_each_change_of_a_key_is_listed():
    """The list has the changes that the code reports, and no other."""
    sources = [*(ROOT / "kms").rglob("*.py"), *(ROOT / "driver").rglob("*.py")]
    code = "\n".join(each.read_text(encoding="utf-8") for each in sources if each.parent.name != "telemetry")
    told = set(re.findall(r"(?:KeyEvent|_event)\(\s*\"((?:key|kek|namespace)\.\w+)\"", code))
    assert told == attribute_values()["strongroom.key.operation"]


def test_each_observed_gauge_is_read():
    """Every observed instrument of the table is read."""
    registered = []
    emit = Emitter(None, None)
    emit.observe = lambda name, read: registered.append((name, read))
    Gauges(emit)
    assert sorted(name for name, _ in registered) == sorted(
        name for name, each in INSTRUMENTS.items() if each.kind.startswith("observed")
    )


def test_kinds_of_errors():
    """An error of this project is reported by its class; any other is not, because its name may be anything."""
    assert error_type(IntegrityError()) == "IntegrityError"
    assert error_type(ConditionFailed()) == "ConditionFailed"
    assert error_type(PermissionDenied()) == "PermissionDenied"
    assert error_type(AuditUnavailable()) == "AuditUnavailable"
    assert error_type(CancelledError()) == "cancelled"
    assert error_type(type("Invented4711", (Exception,), {})()) == OTHER
    attribute_values.cache_clear()
    assert error_type(type("Invented4712", (IntegrityError,), {})()) == OTHER


async def test_memory_does_not_grow_with_values():
    """Values that are in no list are not cached, so invented values can't fill the memory."""
    probe = Probe.make()
    for number in range(100):
        await reported_call(probe.telemetry, "history", f"invented {number}")
    assert len(probe.telemetry._emitter._attributes) == 0
    assert probe.value("strongroom.call.duration", strongroom__operation=OTHER) == 100


def test_nothing_is_needed_where_nobody_watches():
    """Without the extra every package can be imported; only the module of the telemetry itself needs it."""
    program = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "import strongroom.kms, strongroom.storage, strongroom.visibility, strongroom.driver.strongroom, strongroom.driver.cli.main\n"
        "try:\n"
        "    import strongroom.driver.telemetry.telemetry\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert "pip install 'strongroom[opentelemetry]'" in run(program)  # the control, and what to do


def test_global_providers_are_used_only_if_they_are_given():
    """The process's global provider gets nothing, unless it is passed."""
    program = (
        "import asyncio\n"
        "from opentelemetry import metrics, trace\n"
        "from tests.support.telemetry_probe import Probe, reported_call\n"
        "from strongroom.driver.telemetry.telemetry import Telemetry\n"
        "probe = Probe.make()\n"
        "metrics.set_meter_provider(probe.meters)\n"
        "trace.set_tracer_provider(probe.tracers)\n"
        "given = {'meter_provider': metrics.get_meter_provider(), 'tracer_provider': trace.get_tracer_provider()}\n"
        "for telemetry in (Telemetry(), Telemetry(**given)):\n"
        "    asyncio.run(reported_call(telemetry, 'history', 'append_history_nodes'))\n"
        "    telemetry.looked_up('hit')\n"
        "    points = {metric.name for metric, _ in probe.points()} - {'db.client.connection.count'}\n"
        "    print(len(points), len(probe.spans.get_finished_spans()))\n"
    )
    assert run(program).split("\n") == ["0 0", "2 1"]


def run(program):
    """Run a program by itself, and return what it printed."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()
