"""Run the Temporal server's own functional tests (go.temporal.io/server/tests) on cells, or on plain PostgreSQL as the control.

    python -m examples.temporal.functional --run 'TestAdvancedVisibilitySuite|TestCronSuite'
    python -m examples.temporal.functional --plain --run TestCronSuite

The tests make a cluster for each suite, and its stores in one place. This program copies the server's module, changes this one call
(see temporal/functional), builds the tests, and makes a cell for each cluster. It prints the result of each test.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit, urlunsplit

from strongroom.driver.config import load_config, write_config
from strongroom.driver.demo.embedded_postgres import embedded_postgres
from strongroom.driver.serve.server import Server
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import NO_NAMESPACE, Database

from .binaries import MODULE
from .processes import run

RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)
CALL = "tbFactory.NewTestBase(&clusterConfig.Persistence)"
CHANGED = "functional.NewTestBase(&clusterConfig.Persistence, clusterConfig.HistoryConfig.NumHistoryShards)"
IMPORT = '\t"go.temporal.io/server/tests/testutils"\n'


@dataclass(frozen=True)
class Settings:
    """The settings of the server of a cell."""

    principal: str | None = None
    users: tuple[str, ...] = ()
    max_in_flight: int = 1024


class Cells:
    """Makes cells in one PostgreSQL.

    Args:
        folder: The folder of the cells.
        superuser: The connection string of the server's superuser.
    """

    def __init__(self, folder: Path, superuser: str) -> None:
        self._folder, self._superuser = folder, superuser
        self._numbers = count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Make a cell with the number of shards that the peer sends, send its socket, and end the cell with the connection."""
        shards, name = int(await reader.readline()), f"cell{next(self._numbers)}"
        async with Database.open(self._superuser) as database, database.connection(NO_NAMESPACE) as connection:
            await connection.execute(f"CREATE DATABASE {name}")
        home = self._folder / name
        home.mkdir()
        path = home / "strongroom.toml"
        write_config(path, dsn=urlunsplit(urlsplit(self._superuser)._replace(path=f"/{name}")), shards=shards)
        with path.open("a") as settings:
            settings.write('\n[namespaces]\nkek = "local:{id}"\n')
        config = load_config(path)
        await Strongroom.init(config)
        async with Strongroom.open(config) as strongroom:
            with socket.socket(socket.AF_UNIX) as listening:
                listening.bind(str(home / "socket"))
                listening.listen()
                server = Server(strongroom, Settings())
                await server.start(listening)
                writer.write(f"{home / 'socket'}\n".encode())
                with suppress(ConnectionError):
                    await reader.read()
                await server.drain(5)


def build_tests(folder: Path) -> Path:
    """Copy the server's module, let its test cluster use our stores, and return the program of the tests and its folder."""
    source = Path(run(["go", "list", "-m", "-f", "{{.Dir}}", "go.temporal.io/server"], MODULE).strip())
    copy = folder / "server"
    if not copy.exists():
        shutil.copytree(source, copy)
        run(["chmod", "-R", "u+w", copy], folder)
        cluster = copy / "tests" / "testcore" / "test_cluster.go"
        text = cluster.read_text()
        if CALL not in text or IMPORT not in text:
            raise SystemExit("the functional tests of this server make their stores elsewhere; change CALL and IMPORT")
        changed = text.replace(CALL, CHANGED).replace(IMPORT, f'{IMPORT}\t"strongroom/temporal/functional"\n')
        cluster.write_text(changed)
        replacement = f"-replace=strongroom/temporal={MODULE}"
        run(["go", "mod", "edit", "-require=strongroom/temporal@v0.0.0", replacement], copy)
        run(["go", "mod", "tidy"], copy)
    run(
        ["go", "test", "-c", "-o", folder / "functional.test", "./tests"],
        copy,
        environment={"CGO_ENABLED": "0"},  # as all builds of the module, which share one cache
    )
    return folder / "functional.test"


async def run_tests(program: Path, pattern: str, environment: dict[str, str], log: Path) -> None:
    """Run tests, with their output in a file."""
    with log.open("wb") as output:
        arguments = ["-test.v", "-test.timeout=2h", "-test.run", pattern, "-persistenceDriver=postgres12_pgx"]
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            cwd=program.parent / "server" / "tests",
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
        await process.wait()


async def main() -> int:
    """Run the tests that the command line names."""
    parser = argparse.ArgumentParser(description="Run the functional tests of the Temporal server on cells.")
    parser.add_argument("--run", default=".", help="a pattern for names, as `go test -run` takes it")
    parser.add_argument("--plain", action="store_true", help="the control: Temporal's own stores on PostgreSQL")
    parser.add_argument("--folder", type=Path, default=MODULE / "bin" / "functional", help="where the tests are built")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    program = build_tests(options.folder)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="functional-")))
        superuser = stack.enter_context(embedded_postgres(folder / "postgres"))
        log = options.folder / ("plain.log" if options.plain else "sealed.log")
        if options.plain:
            environment = {"FUNCTIONAL_POSTGRES": parse_qs(urlsplit(superuser).query)["host"][0]}
            await run_tests(program, options.run, environment, log)
        else:
            path = folder / "cells"
            async with await asyncio.start_unix_server(Cells(folder, superuser).serve, path):
                await run_tests(program, options.run, {"FUNCTIONAL_CELLS": str(path)}, log)
    return report(log)


def report(log: Path) -> int:
    """Print the result of each test, and return the exit code."""
    results = {name: result for result, name in RESULT.findall(log.read_text(errors="replace"))}
    outcomes = list(results.values())
    lines = [f"{result} {name}" for name, result in sorted(results.items())]
    numbers = f"{outcomes.count('PASS')} passed, {outcomes.count('FAIL')} failed, {outcomes.count('SKIP')} skipped"
    sys.stdout.write("\n".join([*lines, numbers, f"log: {log}", ""]))
    return int(not outcomes or "FAIL" in outcomes)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
