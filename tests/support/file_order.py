"""The order of the test files: the longest ones first, so that no worker waits at the end for a long file of another one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

SECONDS = Path(__file__).with_name("file_seconds.txt")
"""The files that take long, with their seconds. The summary of a run prints these lines."""


@cache
def file_seconds() -> Mapping[str, int]:
    """Return the seconds of each long file, by its path in the repository."""
    lines = (line.split() for line in SECONDS.read_text().splitlines() if not line.startswith("#"))
    return {path: int(seconds) for seconds, path in lines}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests of long files to the front. All others keep their random order."""
    seconds = file_seconds()
    items.sort(key=lambda item: -seconds.get(item.path.relative_to(ROOT).as_posix(), 0))
