"""The end of a run says which capabilities were not tested, and how to add them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from tests.support.services import KERNEL, SERVICES, SOFTHSM, ServiceMissing
from tests.support.tree import ROOT
from tests.support.untested import summary


def test_skipped_tests_are_counted_by_capability():
    """The capability with the most skipped tests is first. Reasons that no service would change are last."""
    kernel, tokens = (str(ServiceMissing(service, ["it is not here"])) for service in (KERNEL, SOFTHSM))
    assert summary([f"Skipped: {tokens}", kernel, kernel, "azure keeps all versions"]) == [
        f"native kernel: 2 tests. To add it: {KERNEL.advice}",
        f"SoftHSM (PKCS#11 keys): 1 test. To add it: {SOFTHSM.advice}",
        "azure keeps all versions: 1 test",
    ]
    assert summary([]) == []


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_each_missing_service_is_a_capability(service):
    """Its name has no colon, so that the summary finds it, and it has an advice."""
    (line,) = summary([str(ServiceMissing(service, ["a reason: with a colon", "another"]))])
    assert line == f"{service.name}: 1 test. To add it: {service.advice}"


def test_a_run_without_a_service_names_it(tmp_path):
    """A real run of pytest, in which PostgreSQL, the kernel and SoftHSM are missing, ends with the three."""
    (tmp_path / "test_something.py").write_text(
        "from tests.support.services import KERNEL, POSTGRES, SOFTHSM, missing_service\n"
        "import pytest\n"
        "@pytest.mark.parametrize('service', [KERNEL, SOFTHSM, POSTGRES[15]], ids=str)\n"
        "def test_it(service): missing_service(service, 'not here')\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("REQUIRE_", "PYTEST_"))}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.support.untested", "-c", os.devnull, str(tmp_path)],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    ending = run.stdout.partition("not tested on this machine")[2]
    for service in ("native kernel: 1 test", "SoftHSM (PKCS#11 keys): 1 test", "PostgreSQL 15: 1 test"):
        assert service in ending, run.stdout + run.stderr


def hidden_skips(text):
    """Return whether a test module skips its tests if a library is missing, without a word in the summary."""
    return any(isinstance(node, ast.Attribute) and node.attr == "importorskip" for node in ast.walk(ast.parse(text)))


def test_no_test_is_skipped_for_a_library():
    """`make` installs every library. A skip would be missing in the summary, and REQUIRE_SERVICES could not make it a failure."""
    assert [path for path in (ROOT / "tests").rglob("*.py") if hidden_skips(path.read_text(encoding="utf-8"))] == []


def test_a_hidden_skip_is_found():
    """Control of the test above."""
    assert hidden_skips("import pytest\npytest.importorskip('a')\n")
    assert not hidden_skips("import pytest\ndef test(): pytest.skip('no reason')\n")
