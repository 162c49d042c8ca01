"""A file that a person names by mistake, such as a device or a disk image, is refused after a bounded part of it was read."""

from __future__ import annotations

import subprocess

import pytest

from strongroom.driver.audit.export import cursor_file
from strongroom.driver.config import ConfigError
from tests.support.fixtures.command_line import STRONGROOM

pytestmark = pytest.mark.integration

MEMORY = 2 * 2**20
"""Address space of a command, in KiB. A command that reads the file as a whole ends with a MemoryError, and not with the machine."""
KEY = "0" * 64
COMMANDS = {
    "certificate": ("verify-certificate", "FILE"),
    "public key": ("verify-certificate", "nobody.json", "--public-key", "FILE"),
    "exported records": ("audit", "verify", "FILE", "--public-key", KEY),
    "exported records in JSON": ("audit", "verify", "FILE", "--public-key", KEY, "--json"),
    "configuration": ("--config", "FILE", "namespace", "list"),
}


@pytest.fixture
def disk_image(tmp_path):
    """A file of 64 GiB without a line end."""
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(64 * 2**30)
    return path


@pytest.mark.parametrize(
    ("name", "is_image"), [*((name, False) for name in COMMANDS), ("certificate", True), ("exported records", True)]
)
def test_a_file_without_an_end(disk_image, tmp_path, name, is_image):
    """The command ends with one line and with the code of a wrong argument."""
    path = str(disk_image) if is_image else "/dev/zero"
    arguments = [path if each == "FILE" else each for each in COMMANDS[name]]
    done = subprocess.run(
        ["sh", "-c", f'ulimit -v {MEMORY}; exec "$@"', "sh", STRONGROOM, *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert path in done.stderr
    assert "larger than" in done.stderr or "longer than" in done.stderr or "not a regular file" in done.stderr


def test_a_cursor_without_an_end(disk_image):
    """The cursor of an export is a small file."""
    with pytest.raises(ConfigError, match="larger than"), cursor_file(disk_image):
        pytest.fail("it was read")
