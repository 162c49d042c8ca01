from __future__ import annotations

import sys

import pytest

from release.tree import copy_tree
from tests.support.release import run


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """A wheel that was built from a copy of the working tree and nothing else."""
    tree = tmp_path_factory.mktemp("tree")
    copy_tree(tree)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "out", ".", folder=tree)
    [built] = (tree / "out").glob("*.whl")
    return built
