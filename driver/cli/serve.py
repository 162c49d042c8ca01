"""The command that serves a Temporal server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from strongroom.driver.config import ConfigError, ServeConfig, parse_config, read_document

from .cell import API_KEY, with_cell
from .commands import Command
from .interrupts import INTERRUPTS
from .show.output import fault, line

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom

_EXAMPLES = """\b
Examples:
  strongroom serve
  strongroom --config /etc/strongroom/strongroom.toml serve --workers 4
  strongroom serve --socket ./strongroom.sock --health 127.0.0.1:7250
  curl http://127.0.0.1:7250/health
"""


@click.command("serve", cls=Command, without_json="It serves until it is stopped, and prints a log.", epilog=_EXAMPLES)
@click.option(
    "--workers", type=int, help="Number of worker processes. Default: serve.workers of the configuration, or 1."
)
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    help="Unix socket of the first worker. Default: serve.socket of the configuration.",
)
@click.option("--health", metavar="ADDRESS", help="Address of GET /health: HOST:PORT or unix:PATH.")
@click.pass_obj
def serve(config_path: Path, workers: int | None, socket: Path | None, health: str | None) -> None:
    """Serve this cell's stores to a Temporal server, over Unix sockets.

    A supervisor starts the worker processes, and restarts those that end. On SIGTERM the workers answer the calls that they have, and
    the server stops with exit code 0. docs/how-to/temporal-server.md has the set-up. The options take precedence over the section
    [serve].
    """
    options: dict[str, Any] = {
        "workers": workers,
        "socket": None if socket is None else str(socket.absolute()),
        "health": _absolute(health),
    }
    document = _document(config_path, {name: value for name, value in options.items() if value is not None})
    config = parse_config(document, folder=config_path.parent, source=str(config_path))
    settings = config.serve or ServeConfig()
    _check_packages(settings)
    from strongroom.driver.serve import preflight, run, waiting  # noqa: PLC0415 - needs an extra

    async def check(strongroom: Strongroom) -> None:
        await preflight.check_callers(strongroom, settings, os.environ.get(API_KEY))
        warning = await preflight.connection_warning(strongroom.database, config, settings.workers)
        if warning is not None:
            fault(warning, style="yellow", label="warning: ")

    def show_wait(reason: str) -> None:
        fault(f"waiting for PostgreSQL: {reason}", style="yellow", label="warning: ")

    INTERRUPTS.run(waiting.wait_for_database(config, settings.database_wait_seconds, waiting=show_wait))
    with_cell(config_path, check, "serve.run")

    def ready(addresses: list[str]) -> None:
        for address in addresses:
            line(f"listening on {address}")

    async def supervise() -> None:
        server = run.Running(document, config_path, settings, ready)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, server.stop)
        loop.add_signal_handler(signal.SIGHUP, server.hang_up)
        try:
            await server.run()
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)
            INTERRUPTS.install()

    INTERRUPTS.run(supervise())
    sys.stdout.flush()


def _check_packages(settings: ServeConfig) -> None:
    try:
        import strongroom.driver.serve.preflight  # noqa: PLC0415 - needs an extra

        if settings.metrics is not None:
            import strongroom.driver.telemetry.prometheus  # noqa: F401, PLC0415 - needs another one
    except ModuleNotFoundError:
        msg = "the server needs packages that are not installed. Run: pip install 'strongroom[serve]'"
        raise ConfigError(msg) from None
    except ImportError as error:
        raise ConfigError(str(error)) from None


def _document(config_path: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Return the content of the configuration, with the options of the command line in its section `[serve]`."""
    document = read_document(config_path)
    section = document.get("serve", {})
    return {**document, "serve": {**section, **options}} if options and isinstance(section, dict) else document


def _absolute(address: str | None) -> str | None:
    """Return an address whose path, if it has one, starts at the current folder and not at the configuration's."""
    if address is None or not address.startswith("unix:"):
        return address
    return f"unix:{Path(address.removeprefix('unix:')).absolute()}"
