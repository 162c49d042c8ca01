"""Checks the layout of the tree: lengths of files, and one definition for each name of a fixture."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict

from checks.tree import ROOT, report, tracked_files

LIMITS = {
    "tests": 500,
    ".ci": 300,
    "benchmarks": 300,
    "examples": 300,
    "kms": 300,
    "storage": 300,
    "visibility": 300,
    "driver": 300,
}
"""Folder: the most lines of a Python file in it."""
ADVICE = "Split the file by subject, or give the fixture a name that says what it is; see tests/README.md."


def too_long(name: str, content: str) -> list[str]:
    """Return a fault if a Python file has more lines than it may have."""
    limit = LIMITS.get(name.partition("/")[0])
    length = content.count("\n")
    if not name.endswith(".py") or limit is None or length <= limit:
        return []
    return [f"{name}: {length} lines; the limit is {limit}"]


def fixtures_of(content: str) -> list[tuple[str, int]]:
    """Return name and line of each fixture that a file defines."""
    found = []
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [(name, node.lineno) for decorator in node.decorator_list for name in _names(node.name, decorator)]
    return found


def _names(function: str, decorator: ast.expr) -> list[str]:
    """Return the name of the fixture that a decorator makes of a function; none if it makes no fixture."""
    call = decorator.func if isinstance(decorator, ast.Call) else decorator
    if ast.unparse(call) not in {"pytest.fixture", "fixture", "pytest_asyncio.fixture"}:
        return []
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    given = [ast.literal_eval(keyword.value) for keyword in keywords if keyword.arg == "name"]
    return given or [function]


def repeated_fixtures(files: dict[str, str]) -> list[str]:
    """Return a fault for each name that more than one fixture has."""
    places = defaultdict(list)
    for name, content in files.items():
        for fixture, line in fixtures_of(content):
            places[fixture].append(f"{name}:{line}")
    return [
        f"fixture {fixture!r} is defined {len(where)} times: {', '.join(where)}"
        for fixture, where in sorted(places.items())
        if len(where) > 1
    ]


def main() -> int:
    """Check the tree; return the exit code."""
    files = {path.as_posix(): (ROOT / path).read_text() for path in tracked_files() if path.suffix == ".py"}
    faults = [fault for name, content in files.items() for fault in too_long(name, content)]
    faults += repeated_fixtures({name: content for name, content in files.items() if name.startswith("tests/")})
    return report(faults, ADVICE)


if __name__ == "__main__":
    sys.exit(main())
