"""The programs of examples/, run as their pages say."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import httpx
import pytest

from tests.support.fixtures.command_line import command, run_in_thread
from tests.support.services import POSTGRES
from tests.support.services.postgres import programs_of
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

EXAMPLES = ROOT / "examples"


def program(path, folder, *arguments, code=0, **options):
    """Run a program of the examples in the folder of a cell; return what it printed."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / path, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "error::RuntimeWarning"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        **options,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def make_shop(dsn, folder):
    """Make a cell with the namespace `shop` and the orders of examples/orders/requests.jsonl; return the answers."""
    command(folder, "init", "--dsn", dsn)
    command(folder, "namespace", "create", "shop", "-a", "CustomerId=Keyword", "-a", "Amount=Double")
    requests = (EXAMPLES / "orders" / "requests.jsonl").read_text()
    printed = program("orders/service.py", folder, "strongroom.toml", "shop", input=requests)
    return [json.loads(line) for line in printed.splitlines()]


@pytest.fixture(scope="module")
def shop(databases, tmp_path_factory):
    """The folder of a cell with orders, and the answers."""
    dsn, folder = run_in_thread(databases.create()), tmp_path_factory.mktemp("shop")
    yield folder, make_shop(dsn, folder)
    run_in_thread(databases.drop(dsn))


def test_the_service_stores_and_finds_orders(shop):
    """Each request has one answer. A filter on an unknown attribute, and an order that exists, are errors by their names."""
    folder, answers = shop
    *started, found, counted, unknown, again = answers
    assert [each["order"] for each in started] == ["order-1", "order-2", "order-3"]
    assert found == {"orders": ["order-1"]}
    assert counted == {"count": 3}
    assert unknown == {"error": "UnknownAttribute", "may_have_been_committed": False}
    assert again == {"error": "CurrentWorkflowConditionFailed", "may_have_been_committed": False}
    assert command(folder, "query", "shop", "--count").split()[0] == "3"


def test_the_drill_finds_a_set_that_fits_and_one_that_does_not(shop, databases, tmp_path):
    """The exit code is 0 for the cell's own files. Control: with the keyring of another cell it is 1."""
    folder, _ = shop
    programs = programs_of(max(POSTGRES))
    target, other, own = (run_in_thread(databases.create()) for _ in range(3))
    printed = program("restore_drill/drill.py", folder, "strongroom.toml", target, "--programs", programs)
    assert "checks passed" in printed
    command(tmp_path, "init", "--dsn", own)
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.copy(tmp_path / "strongroom-keyring.json", copy / "strongroom-keyring.json")
    printed = program("restore_drill/drill.py", copy, "strongroom.toml", other, "--programs", programs, code=1)
    assert "wrong   Keys, keyring local" in printed
    for dsn in (target, other, own):
        run_in_thread(databases.drop(dsn))


def test_the_worker_shows_what_a_server_gets(shop):
    """The bytes that are shown do not have the name, and it opens again. In clear, they would begin with it."""
    folder, _ = shop
    printed = program("worker/worker.py", folder, "strongroom.toml", "shop", "--show", "Ana Ruiz")
    shown, opened = printed.splitlines()
    assert opened == "opened: Ana Ruiz"
    assert re.search(r"on the wire: [0-9a-f]{48}\.\.\. ", shown)
    assert b"Ana Ruiz".hex() not in shown


def test_the_admin_interface_authorises_each_request(databases, tmp_path):
    """With a key its owner sees runs; without one nothing is answered. The audit log has the calls."""
    dsn, cell = run_in_thread(databases.create()), tmp_path / "cell"
    cell.mkdir()
    make_shop(dsn, cell)
    key = json.loads(command(cell, "access", "init", "ana", "--json"))["api_key"]
    address = tmp_path / "http"
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "app:app", "--uds", address, "--log-level", "warning"],
        cwd=EXAMPLES / "admin",
        env={**os.environ, "STRONGROOM_CONFIG": str(cell / "strongroom.toml"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        answered(server, address)
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(address)), base_url="http://admin", timeout=60
        ) as client:
            known = {"Authorization": f"Bearer {key}"}
            assert [each["name"] for each in client.get("/namespaces", headers=known).json()] == ["shop"]
            found = client.get("/namespaces/shop/runs", params={"query": "Amount > 100"}, headers=known).json()
            assert [(each["workflow"], each["attributes"]) for each in found] == [
                ("order-1", {"CustomerId": "cust-7", "Amount": 120.5})
            ]
            refused = {
                "/namespaces/elsewhere/runs": (404, "NamespaceNotFound"),
                "/namespaces/shop/runs?query=x": (400, "UnsupportedQuery"),
            }
            for path, (status, error) in refused.items():
                answer = client.get(path, headers=known)
                assert (answer.status_code, answer.json()["error"]) == (status, error)
            answer = client.get("/namespaces", headers={"Authorization": "Bearer wrong"})
            assert (answer.status_code, answer.json()["error"]) == (401, "NotAuthenticated")
    finally:
        server.terminate()
        server.wait(60)
    records = b"".join(each.read_bytes() for each in sorted((cell / "audit").rglob("*.jsonl")))
    assert b"visibility.list_workflow_executions" in records
    run_in_thread(databases.drop(dsn))


def answered(server, path, seconds=240):
    """Wait until a server accepts connections at a path."""
    deadline = time.monotonic() + seconds
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            if not connection.connect_ex(str(path)):
                return
        assert server.poll() is None, "the server ended"
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.2)


def test_each_example_has_a_page():
    """A few lines that say what it shows and how it is run."""
    folders = [each for each in EXAMPLES.iterdir() if each.is_dir() and each.name not in {"temporal", "__pycache__"}]
    assert {each.name for each in folders} == {"admin", "orders", "restore_drill", "worker"}
    for each in folders:
        assert len((each / "README.md").read_text().splitlines()) >= 5
