"""Tests of the Go module as programs: built once, and run against a cell that a Python test serves."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from examples.temporal.binaries import MODULE
from tests.support.services import GO, missing_service

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESULT = re.compile(r"^--- (PASS|FAIL|SKIP): ", re.MULTILINE)


def require_go() -> None:
    """Skip the test, or fail it, if Go is missing."""
    if shutil.which("go") is None:
        missing_service(GO, "no program 'go' in PATH")


@cache
def built_tests(package: str) -> Path:
    """Return the test program of a package. Each pytest worker builds it once. Go keeps what it compiled.

    Args:
        package: The folder of the package in the module.
    """
    require_go()
    target = Path(tempfile.mkdtemp(prefix="strongroom-go-")) / f"{package}.test"
    command = ["go", "test", "-c", "-o", str(target), f"./{package}"]
    environment = {**os.environ, "CGO_ENABLED": "0"}  # as all builds of the module, which share one cache
    done = subprocess.run(command, cwd=MODULE, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-5000:]
    return target


async def run_tests(program: Path, environment: Mapping[str, str], *arguments: str) -> None:
    """Run Go tests. Fail with their output if one fails or is skipped, or if there is none."""
    process = await asyncio.create_subprocess_exec(
        str(program),
        "-test.v",
        *arguments,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    text = output.decode(errors="replace")
    results = _RESULT.findall(text)
    assert process.returncode == 0, text[-20_000:]
    assert set(results) == {"PASS"}, text[-20_000:]
