from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_extra_the_command_says_what_to_install(missing, tmp_path):
    """Without click or rich the command ends with 2 and one line that names the extra."""
    code = (
        f"import sys; sys.modules['{missing}'] = None; sys.argv = ['strongroom', 'doctor']\n"
        "from strongroom.driver.cli.entry import main; main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr == (
        f"error: the command line needs {missing}, which is not installed. Run: pip install 'strongroom[cli]'\n"
    )


def test_a_service_needs_neither(tmp_path):
    """The package that a service imports works without the packages of the command line."""
    code = "import sys; sys.modules.update(click=None, rich=None); import strongroom.driver, strongroom.driver.importing.importer"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
