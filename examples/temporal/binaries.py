"""The Go programs of the stack. Go builds them once, and again after a change of their sources."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .processes import StackError, run

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "temporal"
SERVER = "./cmd/temporal-server-strongroom"
SQL_TOOL = "go.temporal.io/server/cmd/tools/sql"
"""Temporal's own tool for the schema of its SQL stores. The plain stack, with which the sealed one is compared, needs it."""


def server_module() -> Path:
    """Return the folder of the Temporal server's Go module."""
    return Path(run(["go", "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", "go.temporal.io/server"], MODULE).strip())


def build(package: str, name: str, module: Path = MODULE) -> Path:
    """Build a Go program and return its path.

    Args:
        package: The package, as `go build` takes it.
        name: The name of the program.
        module: The folder of the Go module.

    Raises:
        StackError: Go is missing, or the program can't be built.
    """
    if shutil.which("go") is None:
        msg = "this needs Go 1.26 or newer; install it, and run the command again"
        raise StackError(msg)
    target = MODULE / "bin" / name
    target.parent.mkdir(exist_ok=True)
    done = subprocess.run(
        ["go", "build", "-o", str(target), package],
        cwd=module,
        env={**os.environ, "CGO_ENABLED": "0"},  # as all builds of the module, which share one cache
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(f"go build {package} failed:\n{done.stderr[-3000:]}")
    return target
