"""Go programs and Go tests, run from pytest."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from examples.temporal.binaries import MODULE
from tests.support.services import GO, missing_service

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST = 1200
"""Time that a Go command may take, in seconds. A first build on a slow machine takes minutes."""


def require_go() -> None:
    """Skip the test, or fail it, if Go is missing."""
    if shutil.which("go") is None:
        missing_service(GO, "no program 'go' in PATH")


def go_test(package: str, *flags: str, environment: Mapping[str, str]) -> str:
    """Run the Go tests of a package and return their output.

    Args:
        package: The package, for example `./suites`.
        flags: Further flags of `go test`, for example `-run TestShards`.
        environment: Variables besides those of this process, for example STRONGROOM_SOCKET.

    Raises:
        AssertionError: A test failed, or the package can't be built. The message has the output.
    """
    done = subprocess.run(
        ["go", "test", "-count=1", f"-timeout={LONGEST}s", *flags, package],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, f"go test {package} failed:\n{done.stdout[-20_000:]}"
    return done.stdout
