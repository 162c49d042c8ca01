"""The programs of the functional tests, built from a copy of the server's module that uses the stores of temporal/functional."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.temporal.binaries import MODULE, server_module
from examples.temporal.processes import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = ("tests", "tests/ndc", "tests/xdc")
"""Packages that start clusters on the stores of the command line. tests/mixedbrain also starts released servers, so it is left out."""
CALL = "tbFactory.NewTestBase(&clusterConfig.Persistence)"
CHANGED = "functional.NewTestBase(&clusterConfig.Persistence, clusterConfig.HistoryConfig.NumHistoryShards)"
IMPORT = '\t"go.temporal.io/server/tests/testutils"\n'
HOOKS = "-tags=test_dep"
"""Nine suites need the hooks that this tag builds in. Without it, each of their tests ends the program."""
WITHOUT_CGO = {"CGO_ENABLED": "0"}
"""All builds of the module are without cgo, so that they share one cache."""
METHOD = re.compile(r"^func \(\w+ \*?(\w+)\) (Test\w+)\(", re.MULTILINE)
FUNCTION = re.compile(r"^func (Test\w+)\(\w+ \*testing\.T\) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
SUITE = re.compile(r"new\((\w+)\)|&(\w+)\{")
RUNS_SUITE = "uite.Run("
"""A call of `suite.Run` or `parallelsuite.Run`."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A test at the top level of a package, which in most cases is a suite.

    Attributes:
        package: The folder of its package in the server's module.
        name: Its name.
        program: The program that has it.
        folder: The folder that it must run in.
        tests: The tests that it has by the source, for example `TestA/TestPart`. Its own name if the source does not list them.
    """

    package: str
    name: str
    program: Path
    folder: Path
    tests: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.package}.{self.name}"


def version_of_the_server() -> str:
    """Return the version of the Temporal server in go.mod."""
    return re.findall(r"go\.temporal\.io/server v(\S+)", (MODULE / "go.mod").read_text())[0]


def build(folder: Path) -> list[Suite]:
    """Copy the server's module, let its test cluster use our stores, build the tests, and return the suites."""
    copy = _copied(folder)
    suites: list[Suite] = []
    changed = max(path.stat().st_mtime for path in [folder / "copied", *_sources()])
    for package in PACKAGES:
        program = folder / f"{package.replace('/', '-')}.test"
        if not program.exists() or program.stat().st_mtime < changed:
            _build(program, package, copy)
        names = run([program, "-test.list", "."], copy / package).split()
        tests = listed_in("\n".join(path.read_text() for path in sorted((copy / package).glob("*_test.go"))))
        suites += [
            Suite(package, name, program, copy / package, tests.get(name, (name,)))
            for name in names
            if name.startswith("Test")
        ]
    return suites


def listed_in(source: str) -> dict[str, tuple[str, ...]]:
    """Return the tests of each suite in Go source. A suite that runs its methods within subtests is left out."""
    methods: dict[str, list[str]] = {}
    for suite, method in METHOD.findall(source):
        methods.setdefault(suite, []).append(method)
    found = {}
    for name, body in FUNCTION.findall(source):
        suites = [new or literal for new, literal in SUITE.findall(body)]
        tests = tuple(f"{name}/{method}" for suite in suites for method in methods.get(suite, ()))
        if tests and RUNS_SUITE in body and "t.Run(" not in body:
            found[name] = tests
    return found


def _build(program: Path, package: str, copy: Path) -> None:
    """Build the tests of a package, under another name until they are complete."""
    unfinished = program.with_suffix(".unfinished")
    run(["go", "test", "-c", HOOKS, "-vet=off", "-o", unfinished, f"./{package}"], copy, environment=WITHOUT_CGO)
    unfinished.rename(program)


def _sources() -> Iterator[Path]:
    for folder in ("functional", "internal", "stores", "visibility"):
        yield from (MODULE / folder).rglob("*.go")


def _copied(folder: Path) -> Path:
    source = server_module()
    copy, copied = folder / "server", folder / "copied"
    made_from = f"{source.name} {HOOKS}"
    if copied.exists() and copied.read_text() == made_from:
        return copy
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy)
    run(["chmod", "-R", "u+w", copy], folder)
    cluster = copy / "tests" / "testcore" / "test_cluster.go"
    text = cluster.read_text()
    if CALL not in text or IMPORT not in text:
        raise SystemExit("the functional tests of this server make their stores elsewhere; change CALL and IMPORT")
    changed = text.replace(CALL, CHANGED).replace(IMPORT, f'{IMPORT}\t"strongroom/temporal/functional"\n')
    cluster.write_text(changed)
    run(["go", "mod", "edit", "-require=strongroom/temporal@v0.0.0", f"-replace=strongroom/temporal={MODULE}"], copy)
    run(["go", "mod", "tidy"], copy)
    copied.write_text(made_from)
    return copy
