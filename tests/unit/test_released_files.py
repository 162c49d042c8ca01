"""What a released version promised to keep is as it was: its migrations, and its vectors of the sealed format."""

from __future__ import annotations

import hashlib
import re

import pytest

from tests.released.contents import CELL, DIGESTS, FOLDER
from tests.support.tree import ROOT

RELEASED = sorted(FOLDER.glob(f"*/{DIGESTS}"))


def changed(lines, root):
    """Return the files of `sha256sum` lines that are missing or have other bytes."""
    named = [line.split("  ") for line in lines.splitlines()]
    return [name for digest, name in named if not has(root / name, digest)]


def has(path, digest):
    """Return whether a file is there and has a digest."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.parent.name)
def test_files_of_a_release_are_unchanged(path):
    """A change of the schema is another migration; another way to seal is another vector."""
    assert changed(path.read_text(), ROOT) == []


def test_each_version_in_the_changelog_has_its_cell():
    """No version is released without the cell that later versions must open."""
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions == sorted((path.parent.name for path in FOLDER.glob(f"*/{CELL}")), key=key_of, reverse=True)
    assert versions == sorted((path.parent.name for path in RELEASED), key=key_of, reverse=True)


def key_of(version):
    """Return a version as numbers."""
    return tuple(map(int, version.split(".")))


def test_a_changed_and_a_missing_file_are_found(tmp_path):
    """Control."""
    (tmp_path / "kept").write_text("a")
    (tmp_path / "other").write_text("b")
    digest = hashlib.sha256(b"a").hexdigest()
    lines = f"{digest}  kept\n{digest}  other\n{digest}  missing\n"
    assert changed(lines, tmp_path) == ["other", "missing"]
