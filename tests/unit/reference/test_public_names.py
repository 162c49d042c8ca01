"""The public names: what a service needs is exported, documented and typed, and examples use nothing else."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from reference.public import PARTS, names
from tests.support.tree import ROOT

LIST = ROOT / "docs" / "reference" / "public-names.txt"
BRIDGE = ROOT / "driver" / "serve"


def public():
    """Return the names of the list."""
    return set(LIST.read_text(encoding="utf-8").split())


def private_uses(source):
    """Return the names of Strongroom that a program imports and that are not public."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names if each.name.partition(".")[0] == "strongroom"}
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "strongroom":
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return found - public()


def programs():
    """Return every Python file of examples/."""
    return sorted((ROOT / "examples").rglob("*.py"))


@pytest.mark.parametrize("path", programs(), ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_use_only_public_names(path):
    """A service can do everything that an example does without a name that may change."""
    assert private_uses(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    ("line", "used"),
    [
        ("from strongroom.kms.sealing.seal import seal", {"strongroom.kms.sealing.seal.seal"}),
        ("from strongroom.storage import apply_schema", {"strongroom.storage.apply_schema"}),
        ("import strongroom.driver.assembly", {"strongroom.driver.assembly"}),
        ("from strongroom.driver import Strongroom", set()),
    ],
)
def test_a_private_name_is_found(line, used):
    """The control."""
    assert private_uses(line) == used


def from_below(source):
    """Return the private names of the packages below the driver that a module of the driver imports."""
    return {each for each in private_uses(source) if each.startswith(PARTS)}


def test_the_bridge_to_temporal_uses_the_packages_below_it_by_their_public_names():
    """`driver/serve` is a service like any other, except that it is in the same package as the cell. Control: a private name."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted(BRIDGE.rglob("*.py"))}
    assert any(f"from {part} import" in source for source in sources.values() for part in PARTS)
    assert {path: found for path, source in sources.items() if (found := from_below(source))} == {}
    for part in PARTS:
        private = f"{part}.errors.few"
        assert from_below(f"if TYPE_CHECKING:\n    from {part}.errors import few") == {private}
    assert from_below("from strongroom.driver.stores import STORES") == set()


def test_every_public_name_is_exported_and_documented():
    """It can be imported, is in its module's `__all__`, and a class or function has a docstring."""
    for module, several in names().items():
        package = import_module(module)
        assert (Path(package.__file__).parents[len(module.split(".")) - 2] / "py.typed").exists()
        for name in several:
            found = getattr(package, name)
            assert name in package.__all__
            if inspect.isclass(found) or inspect.isfunction(found):
                assert inspect.getdoc(found), f"{module}.{name}"


def test_a_checker_of_types_sees_the_public_names(tmp_path):
    """In strict mode a program that uses every public name has no fault. Control: a name that does not exist has one."""
    lines = [f"from {module} import {', '.join(several)}\n" for module, several in names().items()]
    program = tmp_path / "program.py"
    program.write_text("".join(lines))
    check = [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", program]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    program.write_text("from strongroom.driver import Nonexistent\n")
    assert subprocess.run(check, cwd=ROOT, capture_output=True, check=False).returncode == 1
