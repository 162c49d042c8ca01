"""An audit log whose disk is slow: a command waits longer for it than a call of a service."""

from __future__ import annotations

import asyncio
import sys

import pytest

from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom

pytestmark = pytest.mark.integration

SLOW = """
import sys, time
from dataclasses import replace
from strongroom.driver.audit import LogSettings
from strongroom.driver.cli import cell
from strongroom.driver.cli.main import main
settings = LogSettings() if sys.argv.pop(1) == "service" else cell.LOG_SETTINGS
def append(*records):
    time.sleep(1.5 * LogSettings().write_timeout)
    return settings.append(*records)
cell.LOG_SETTINGS = replace(settings, append=append)
main()
"""


@pytest.mark.parametrize("patience", ["command", "service"])
async def test_a_command_waits_for_a_busy_disk(config_path, patience):
    """A command does its work although each record takes longer than a service waits. The control: a service's deadline ends it."""
    await Strongroom.init(load_config(config_path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SLOW, patience, "--config", config_path, "namespace", "list"),
        cwd=config_path.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, stderr = await process.communicate()
    wanted = (0, False) if patience == "command" else (2, True)
    assert (process.returncode, b"audit log can't be written" in stderr) == wanted, stderr
