"""Installs the files of a release in a clean environment of each supported Python on this machine, and uses them there."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from checks.tree import ROOT
from release.sbom import UV
from release.tree import run

VERSIONS = ("3.11", "3.12", "3.13", "3.14")
"""All supported versions of Python."""
USE = """
import asyncio, sys
import strongroom.driver, strongroom.visibility as visibility
from strongroom.kms.sealing import ciphers
visibility.parse_filter("WorkflowType = 'x' AND StartTime > '2026-01-01T00:00:00Z'")
print(sys.version.split()[0], ciphers.chosen())
"""


def try_all(out: Path) -> list[str]:
    """Install wheel and source archive, each with and without the kernel where it was built; return a line for each version.

    Raises:
        SystemExit: An installation failed, or what was installed does not work.
    """
    [wheel], [archive], kernels = (
        out.glob("strongroom-*.whl"),
        out.glob("*.tar.gz"),
        list(out.glob("strongroom_kernel-*.whl")),
    )
    return [_try(version, [wheel, archive], kernels) for version in VERSIONS]


def _try(version: str, sources: list[Path], kernels: list[Path]) -> str:
    """Install with one version of Python. A version that is not on this machine is no failure."""
    found = _find(version)
    if found is None:
        return f"Python {version}: not on this machine, so it was not tried"
    for source in sources:
        with tempfile.TemporaryDirectory(prefix="strongroom-clean-") as name:
            folder = Path(name)
            run(UV, "venv", "-q", "--python", found, "venv", folder=folder)
            python = folder / "venv" / "bin" / "python"
            pins = ("--constraints", ROOT / "requirements" / "product.txt")
            run(UV, "pip", "install", "-q", *pins, "--python", python, f"{source}[cli]", *kernels, folder=folder)
            run(python, "-c", USE, folder=folder)
            run(folder / "venv" / "bin" / "strongroom", "--help", folder=folder)
    kernel = "with the kernel" if kernels else "without the kernel"
    return f"Python {version}: wheel and source archive work, {kernel}"


def _find(version: str) -> Path | None:
    """Return a Python of a version that uv finds, or that pyenv has installed."""
    done = subprocess.run([UV, "python", "find", "--no-project", version], capture_output=True, text=True, check=False)
    if not done.returncode:
        return Path(done.stdout.strip())
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next((each / "bin" / "python" for each in sorted(root.glob(f"versions/{version}.*"))), None)
