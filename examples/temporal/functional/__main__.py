"""Run the Temporal server's own functional tests (go.temporal.io/server/tests) on cells, and on plain PostgreSQL as the control.

    python -m examples.temporal.functional                            # all suites, continuing an interrupted run
    python -m examples.temporal.functional --run 'Cron|Schedule' --sides sealed
    python -m examples.temporal.functional --table                    # write the page from the journal alone

The tests make a cluster for each suite, and its stores in one place. This program copies the server's module, changes this one call
(see temporal/functional), builds the tests, and runs each suite on new cells and on new databases of Temporal's own stores.
A test that fails is repeated once alone. So is a test that is not finished: the time limit of its suite or a signal from outside ended
it, or it had not begun by then. The results are kept in temporal/functional/results.jsonl.

The exit code is 1 if a test fails on a cell only, or if a suite or a test is left. The last lines then name what is left.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shlex
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

from examples.temporal.binaries import MODULE

from .cells import Cells, postgres
from .journal import SIDES, Journal, Side
from .left import what_is_left
from .page import write_page
from .programs import Suite, build, version_of_the_server
from .running import Runner

RESULTS = MODULE / "functional" / "results.jsonl"
PAGE = MODULE / "FUNCTIONAL.md"


def parse() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m examples.temporal.functional",
        description="Run the functional tests of the Temporal server on cells and on its own stores.",
        epilog="Suites that the journal has are not run again. To run one again, use --again with --run.",
    )
    parser.add_argument("--run", default="", metavar="PATTERN", help="only suites whose package and name match")
    parser.add_argument("--again", action="store_true", help="run suites again that the journal has")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="the stores (default: both)")
    parser.add_argument("--limit", type=int, default=1200, metavar="SECONDS", help="for one suite (default: 1200)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after this time")
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="of a failing test alone (default: 1)")
    parser.add_argument("--at-once", type=int, default=1, metavar="N", help="suites at the same time (default: 1)")
    parser.add_argument("--table", action="store_true", help="run nothing; write the page from the journal")
    parser.add_argument("--journal", type=Path, default=RESULTS, help="the results (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page of the results (default: %(default)s)")
    parser.add_argument("--folder", type=Path, default=MODULE / "bin" / "functional", help="where the tests are built")
    return parser.parse_args()


def main() -> int:
    """Run the suites that the command line names, and write the page."""
    options = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that PostgreSQL and the tests are ended too
    version = version_of_the_server()
    journal = Journal(options.journal, version)
    chosen = [name for name in journal.suites if re.search(options.run, name)]
    if not options.table:
        logs = options.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        suites = build(options.folder)
        selected = [suite for suite in suites if re.search(options.run, str(suite))]
        chosen = [str(suite) for suite in selected]
        if not chosen:
            sys.exit(f"no suite matches {options.run!r}; package and name look like this: {suites[0]}")
        journal.know([str(suite) for suite in suites])
        with TemporaryDirectory(prefix="functional-") as name, postgres(Path(name) / "postgres") as superuser:
            folder = Path(name)
            environments: dict[Side, dict[str, str]] = {
                "sealed": {"FUNCTIONAL_CELLS": str(folder / "cells")},
                "plain": {"FUNCTIONAL_POSTGRES": parse_qs(urlsplit(superuser).query)["host"][0]},
            }
            runner = Runner(
                journal=journal,
                version=version,
                environments={side: environments[side] for side in options.sides},
                logs=logs,
                limit=options.limit,
                stop_at=time.monotonic() + 60 * options.minutes,
                again=options.again,
                repeats=options.repeats,
            )
            asyncio.run(run_suites(runner, selected, options.at_once, Cells(folder, superuser), folder / "cells"))
    code = write_page(journal, options.page)
    left = what_is_left(journal, chosen, options.sides, options.repeats)
    if left:
        sys.stdout.write("\n".join([*left, f"to continue: {continuation(sys.argv[1:])}\n"]))
    return 1 if left else code


def continuation(arguments: list[str]) -> str:
    """Return the command that runs what is left: the same one, without what would run nothing or run everything again."""
    kept: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == "--minutes":
            next(waiting, None)
        elif argument not in {"--again", "--table"} and not argument.startswith("--minutes="):
            kept.append(argument)
    return shlex.join(["python", "-m", "examples.temporal.functional", *kept])


async def run_suites(runner: Runner, suites: list[Suite], at_once: int, cells: Cells, path: Path) -> None:
    """Run suites while cells are made for them."""
    async with await asyncio.start_unix_server(cells.serve, path):
        await runner.run_all(suites, at_once)


if __name__ == "__main__":
    sys.exit(main())
