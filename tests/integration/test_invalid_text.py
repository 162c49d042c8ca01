r"""Arguments that are not valid UTF-8, as a shell passes $'\\xff': each command refuses them in one line, and quotes them escaped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.driver.config import write_config
from tests.integration.test_terminal import COMMANDS
from tests.support.fixtures.command_line import run_command
from tests.support.terminal import HOSTILE

pytestmark = pytest.mark.integration

INVALID = "bad\udcff"
"""Python's form of the byte 0xff in an argument."""
ENDLESS = {"demo", "codec-server", "serve", "index run", "init"}


def invalid(arguments):
    """Return the arguments of a command with an invalid text wherever a text is free."""
    return [each.replace(HOSTILE, INVALID) for each in arguments]


def test_no_argument_that_is_not_utf_8_is_taken_for_a_defect(dsn, tmp_path):
    """No command ends with an unexpected error, and no invalid byte reaches the output."""
    write_config(tmp_path / "strongroom.toml", dsn=dsn)
    assert run_command(tmp_path, "init").returncode == 0
    assert run_command(tmp_path, "namespace", "create", "otherx", "--kek", "local:a", "--create-kek").returncode == 0
    commands = [
        [*name.split(), *invalid(arguments)]
        for name, arguments in COMMANDS.items()
        if name not in ENDLESS and invalid(arguments) != arguments
    ]
    assert len(commands) > 20
    commands += [["--config", INVALID, "doctor"], ["query", "otherx", f"WorkflowId = '{INVALID}'"], ["query", INVALID]]
    commands += [["history", "otherx", INVALID], ["query", "otherx", INVALID, "--explain"], [INVALID]]
    commands += [["namespace", "create", "n", "--kek", f"local:{INVALID}"], ["import", "otherx", INVALID]]
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda each: run_command(tmp_path, *each), commands))
    wrong = [
        f"{' '.join(command)!a}: {done.returncode}: {done.stderr[-300:]!a}"
        for command, done in zip(commands, ended, strict=True)
        if done.returncode not in (0, 1, 2) or "defect" in done.stderr or "Traceback" in done.stderr
    ]
    assert not wrong, "\n".join(wrong)
