"""Every module of the benchmarks can be imported, so that a rename in the product is noticed there too."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.support.tree import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "benchmarks").rglob("*.py")
    if path.name != "__init__.py"
)
OURS = ("benchmarks", "strongroom", "tests")


@pytest.mark.parametrize("module", MODULES)
def test_a_module_of_the_benchmarks_is_imported(module):
    """A module whose third-party library is not installed is skipped, by the library's name."""
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if error.name.partition(".")[0] in OURS:
            raise
        pytest.skip(f"{error.name} is not installed: make bench-env")


def test_the_modules_were_found():
    """A control: an empty list would prove nothing."""
    assert {"benchmarks.lib.report", "benchmarks.persistence.contest", "benchmarks.visibility.contest"} <= set(MODULES)
