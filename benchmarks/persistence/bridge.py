"""The CPU time of a served call: what one call costs the process of the server, by operation, and framing alone.

Run `python -m benchmarks.persistence.bridge`. A child process serves a cell. The parent sends 600 calls of one operation over one
connection, 16 at once and 2 at once. The figure is the CPU time of the child for a call, the smallest of the rounds. PostgreSQL's time
is not in it. `echo` is framing alone, and `statement` is framing and one small statement: what is above it is the store's own work.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from benchmarks.lib.bench_server import bench_server
from benchmarks.lib.journal import Journal
from benchmarks.lib.measuring import cpu_of
from benchmarks.persistence.bridge_load import Load
from benchmarks.persistence.cells import Fixtures
from benchmarks.persistence.opened import create_database, new_namespace
from examples.temporal.sealed import leave_out_audit
from strongroom.driver.config import ServeConfig, load_config, write_config
from strongroom.driver.serve.garbage import exempt_existing_objects
from strongroom.driver.serve.loops import loop_factory
from strongroom.driver.serve.operations import ServedOperation
from strongroom.driver.serve.server import Server
from strongroom.driver.serve.values import decoder_of
from strongroom.driver.strongroom import Strongroom
from strongroom.storage import NO_NAMESPACE
from tests.support.serve.client import Client
from tests.support.serve.remote import RemoteCell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.driver.serve.callers import Callers
    from strongroom.storage import Database

IN_FLIGHT = (16, 2)
"""Calls in flight. A group of a Temporal server that is not busy has one or two."""
STUDY = {
    "echo 20 B": 23,
    "echo 4 KiB": 28,
    "echo update": 41,
    "statement": 0,
    "shard.get": 143,
    "execution.create": 430,
    "execution.update": 344,
    "execution.get": 145,
    "execution.current": 120,
    "history.append": 153,
    "history.read 3": 255,
    "htask.get 20": 323,
    "htask.get 0": 0,
    "task.create": 144,
    "task.get 20": 186,
}
"""Microseconds of the throw-away bridge at a load of 5; 0 if it was not measured."""


class _Echo(msgspec.Struct):
    value: Any


class _EchoStore:
    """A store that returns its argument.

    Args:
        database: The database of the cell.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def echo(self, value: Any) -> Any:
        """Return the argument."""
        return value

    async def statement(self, value: Any) -> Any:
        """Run a statement that returns its argument."""
        async with self._database.connection(NO_NAMESPACE) as connection:
            rows = await connection.fetch("SELECT $1::bigint AS value", value)
        return rows[0]["value"]


class _WithEcho:
    """Callers whose stores have the echo too."""

    def __init__(self, callers: Callers, database: Database) -> None:
        self._callers = callers
        self.echo = _EchoStore(database)

    def stores_for(self, caller: str) -> Any:
        """Return the stores; the caller "echo" has the echo."""
        return self if caller == "echo" else self._callers.stores_for(caller)


async def serve(config_path: Path, path: Path) -> None:
    """Serve a cell, and an operation that returns its argument, until SIGTERM."""
    config = load_config(config_path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    async with Strongroom.unchecked(config) as strongroom:
        server = Server(strongroom, ServeConfig())
        await server.start(listening)
        echoes = {
            f"echo.{method}": ServedOperation(
                f"echo.{method}", "echo", method, False, decoder_of(_Echo).decode, None, (), (), None
            )
            for method in ("echo", "statement")
        }
        service = server._service  # noqa: SLF001 - the table has no operation without a store
        server._service = replace(  # noqa: SLF001
            service,
            operations={**service.operations, **echoes},
            callers=_WithEcho(service.callers, strongroom.database),  # type: ignore[arg-type]
        )
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        exempt_existing_objects()
        print("serving", flush=True)
        await stopped.wait()
        await server.drain(10)
    listening.close()


async def measure(load: Load, name: str, calls: int, child: int, in_flight: int) -> float:
    """Return the CPU time of the child for a call, in microseconds. The requests are made before the clock starts."""
    requests = iter([load.call(name) for _ in range(calls)])

    async def caller() -> None:
        for operation, arguments in requests:
            caller = "echo" if operation.startswith("echo.") else "api/bench/Call"
            await load.client.call(operation, caller=caller, milliseconds=10_000, **arguments)

    began = cpu_of(child)
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return (cpu_of(child) - began) / calls * 1e6


@contextmanager
def child_of(config_path: Path, path: Path) -> Iterator[int]:
    """Start the server's process; return its id."""
    command = [sys.executable, "-m", "benchmarks.persistence.bridge", "--serve", str(config_path), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "serving\n"
        try:
            yield process.pid
        finally:
            process.terminate()


async def run(calls: int, rounds: int, names: Sequence[str], journal: Journal, *, audited: bool) -> None:
    """Measure, and print the table."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(bench_server())
        await create_database(server, "bridge")
        config_path = folder / "bridge.toml"
        write_config(config_path, dsn=f"{server}/bridge")
        if not audited:
            leave_out_audit(config_path)
        config = load_config(config_path)
        namespace = await new_namespace(config)
        child = stack.enter_context(child_of(config_path, folder / "socket"))
        client = await Client.open(folder / "socket")
        stack.push_async_callback(client.aclose)
        load = Load(client, Fixtures(RemoteCell(client), namespace.namespace_id))  # type: ignore[arg-type]
        await load.prepare()
        for name in names:
            figures = {}
            for in_flight in IN_FLIGHT:
                samples = [await measure(load, name, calls, child, in_flight) for _ in range(rounds)]
                figures[f"us, {in_flight} in flight"] = min(samples)
            journal.add(figures | ({"study": STUDY[name]} if STUDY[name] else {}), call=name)
    print(
        f"{'call':<20}"
        + "".join(f"{f'us at {in_flight}':>10}" for in_flight in IN_FLIGHT)
        + f"{'study':>8}{'ratio':>8}"
    )
    for place, figures in journal.entries.items():
        name = dict(place)["call"]
        best, *others = (figures[f"us, {in_flight} in flight"] for in_flight in IN_FLIGHT)
        study = STUDY[name]
        cells = "".join(f"{value:>10.0f}" for value in (best, *others))
        print(f"{name:<20}{cells}{study or '':>8}{f'{best / study:.2f}' if study else '':>8}")


@click.command()
@click.option("--calls", default=600, show_default=True, help="Number of calls of a round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--operation", "names", multiple=True, type=click.Choice(list(STUDY)), default=list(STUDY))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Journal of the measurements, which replaces one that exists."
)
@click.option("--audit", "audited", is_flag=True, help="Serve with an audit log. The study had none.")
@click.option(
    "--serve", "served", nargs=2, type=click.Path(path_type=Path), help="Run as the child: configuration and socket."
)
def main(
    *,
    calls: int,
    rounds: int,
    names: tuple[str, ...],
    out: Path | None,
    audited: bool,
    served: tuple[Path, Path] | None,
) -> None:
    """Measure and print."""
    if served is not None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve(*served))
    else:
        if out is not None:
            out.unlink(missing_ok=True)
        journal = Journal(out, calls=calls, rounds=rounds, audit=audited)
        asyncio.run(run(calls, rounds, names, journal, audited=audited))


if __name__ == "__main__":
    main()
