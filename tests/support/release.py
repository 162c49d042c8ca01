"""Programs that build and install a release, for the tests of packages."""

from __future__ import annotations

import os
import subprocess

from tests.support.tree import ROOT


def run(*command, folder, **environment):
    """Run a program; it must succeed, and what it printed is returned."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def listed_files():
    """Return what a clone of the working tree would hold: tracked files and new ones, none that is ignored or deleted."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=ROOT).split("\0")
    return [name for name in listed if name and (ROOT / name).is_file()]
