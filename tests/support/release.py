"""Programs that build and install a release, for the tests of packages."""

from __future__ import annotations

import os
import subprocess


def run(*command, folder, **environment):
    """Run a program; it must succeed, and what it printed is returned."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
