"""The Python examples of the pages run as they are written, in the folder of a cell with imported runs."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from strongroom.driver.access import changes
from strongroom.driver.importing.importer import import_executions
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from tests.support.pages import code_blocks
from tests.support.tree import ROOT

pytestmark = pytest.mark.integration

OWN_TEST = {"python-service.md", "temporal-server.md"}
"""Pages whose programs a test of their own runs, or that need a Temporal server."""
GENERATED = {"api.md"}
"""Pages whose Python blocks are signatures."""


def examples():
    """Return each Python block of the README and of the pages."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [
        pytest.param(block.text, id=f"{page.name}:{block.line}")
        for page in pages
        for block in code_blocks(page)
        if block.language == "python" and page.name not in OWN_TEST | GENERATED
    ]


@pytest.fixture
async def payments(config, sample):
    """The namespace of the examples, with runs of the sample, and the principal `worker-pool-1` who may write in it."""
    async with Strongroom.open(config) as strongroom:
        kek = await strongroom.create_kek(KekRef.parse("local:payments"))
        types = {"CustomerId": "Keyword", "Amount": "Double"}
        namespace = await strongroom.namespaces.create("payments", kek=kek, search_attributes=types)
        await import_executions(strongroom, namespace, sample)
        now = datetime.now(UTC)
        await strongroom.access.change(lambda _: changes.first_owner("ana", now=now))
        await strongroom.access.change(lambda policy: changes.add_principal(policy, "worker-pool-1", by="ana", now=now))
        await strongroom.access.change(
            lambda policy: changes.bind(
                policy, "worker-pool-1", "write", namespace_id=namespace.namespace_id, by="ana", now=now
            )
        )
        return namespace


def run(example, folder):
    """Run a program in a folder; return its result."""
    return subprocess.run(
        [sys.executable, "-c", example],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "error::RuntimeWarning"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.usefixtures("payments")
@pytest.mark.parametrize("example", examples())
def test_an_example_runs_as_it_is_written(example, config_path):
    """It ends without an error, and prints what it read."""
    done = run(example, config_path.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_pages_have_examples():
    """Control: without one, the test above would prove nothing."""
    assert any(example.id.startswith("link-into-a-service.md") for example in examples())


def test_an_example_that_lacks_an_import_fails(tmp_path):
    """Control: the README had such an example."""
    assert "NameError" in run("print(Path('strongroom.toml'))", tmp_path).stderr
