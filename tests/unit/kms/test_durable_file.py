from __future__ import annotations

import subprocess
import sys

import pytest

from strongroom.kms.durable_file import replace_file

# Writes a file, and is killed before it has its name.
KILLED = """
import os, signal, sys
from pathlib import Path
from strongroom.kms import durable_file

durable_file.os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
durable_file.replace_file(Path(sys.argv[1]), b"keys of before")
"""


@pytest.fixture
def replaced_file(tmp_path):
    return tmp_path / "keyring.json"


def test_nothing_that_a_killed_writer_left_stays(replaced_file):
    """A destroyed KEK of a local keyring must not stay in a temporary file of a writer that was killed."""
    subprocess.run([sys.executable, "-c", KILLED, replaced_file], check=False)
    (left,) = replaced_file.parent.iterdir()
    assert left.read_bytes() == b"keys of before"
    replace_file(replaced_file, b"new")
    assert {each.name: each.read_bytes() for each in replaced_file.parent.iterdir()} == {"keyring.json": b"new"}


def test_temporary_files_of_other_files_stay(replaced_file):
    """A file whose name begins like another's may be written at the same moment."""
    other = replaced_file.with_name(".keyring.json.old.00ff00ff00ff00ff.new")
    other.write_bytes(b"other")
    replace_file(replaced_file, b"new")
    assert sorted(each.name for each in replaced_file.parent.iterdir()) == [
        ".keyring.json.old.00ff00ff00ff00ff.new",
        "keyring.json",
    ]
