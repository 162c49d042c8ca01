from __future__ import annotations

import os
import subprocess
import sys

from tests.support.tree import ROOT

SESSION = """
import os, pytest

@pytest.fixture(scope="module", params=["first", "second"])
def of_the_module(request):
    assert "STRONGROOM_API_KEY" not in os.environ
    assert os.environ["STRONGROOM_MAVEN_URL"] == "given"

def test_it(of_the_module):
    assert not [name for name in os.environ if name.startswith("STRONGROOM_")]
    os.environ["STRONGROOM_API_KEY"] = "of this test"
"""


def test_a_variable_that_a_test_sets_does_not_reach_later_fixtures(tmp_path):
    """Neither do the variables of the caller reach a test; fixtures of a module have them, before and after a test."""
    (tmp_path / "test_session.py").write_text(SESSION)
    plugin = ("-p", "no:randomly", "-p", "tests.support.fixtures.environment", "-c", os.devnull)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "--rootdir", str(tmp_path), str(tmp_path)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "STRONGROOM_MAVEN_URL": "given"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
