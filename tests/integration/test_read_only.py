from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from strongroom.driver.config import new_config
from tests.support.fixtures.command_line import STRONGROOM, faults, run_command

pytestmark = pytest.mark.integration


def read_only(folder, *arguments):
    """Run a command in a folder that a mount makes read-only for it alone."""
    there = shlex.quote(str(folder))
    mount = f"mount --bind {there} {there} && mount -o remount,bind,ro {there}"
    command = f"{mount} && cd {there} && exec {shlex.join([str(STRONGROOM), *map(str, arguments)])}"
    return subprocess.run(["unshare", "-m", "sh", "-c", command], capture_output=True, text=True, check=False)


@pytest.fixture
def cell_folder(dsn, tmp_path):
    """The folder of a cell, and the cell's dsn."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount: run the tests as root of a machine or of a user namespace")
    folder = tmp_path / "cell"
    folder.mkdir()
    assert run_command(folder, "init", "--dsn", dsn).returncode == 0
    return folder


def test_a_read_only_folder_is_named_with_the_setting_to_change(cell_folder, tmp_path):
    """A command that must be recorded is refused with the log's folder, the reason and the setting; the others work."""
    refused = read_only(cell_folder, "namespace", "list")
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: the audit log can't be written, so nothing was done: audit: Read-only file system; set audit.folder in the "
        "configuration to a folder that this user can write, for example a mounted volume\n"
    )
    assert read_only(cell_folder, "schema", "status").returncode == 0
    doctor = read_only(cell_folder, "doctor")
    assert doctor.returncode == 1
    assert "a mounted volume" in doctor.stdout
    config = cell_folder / "strongroom.toml"
    config.write_text(config.read_text().replace('folder = "audit"', f'folder = "{tmp_path}/volume"'))
    for command in (["namespace", "list"], ["keys", "list"], ["doctor"]):
        result = read_only(cell_folder, *command)
        assert (result.returncode, faults(result.stderr)) == (0, ""), result


def test_an_init_in_a_read_only_folder_is_refused_before_it_connects(cell_folder):
    """A new configuration that can't be written is refused, and an existing one names the audit log's setting."""
    new = read_only(cell_folder, "--config", "new.toml", "init", "--dsn", "postgresql://u@127.0.0.1:1/none")
    assert new.returncode == 2
    assert "this user may not write in ., or its file system is read-only" in new.stderr
    again = read_only(cell_folder, "init")
    assert again.returncode == 2
    assert "audit.folder in strongroom.toml" in again.stderr


def test_a_configuration_below_etc_has_its_audit_log_elsewhere(tmp_path):
    """Services can't write below /etc, so that a configuration there names a folder for state."""
    dsn = "postgresql://u@127.0.0.1/d"
    assert 'folder = "/var/lib/strongroom/audit"' in new_config(Path("/etc/strongroom/strongroom.toml"), dsn=dsn)
    assert 'folder = "audit"' in new_config(tmp_path / "strongroom.toml", dsn=dsn)
