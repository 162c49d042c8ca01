"""The command that runs the codec server."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import click

from strongroom.driver.config import ConfigError

from .cell import with_cell
from .commands import Command
from .interrupts import INTERRUPTS
from .show.output import line
from .show.text import escaped

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom

_EXAMPLES = """\b
Examples:
  strongroom codec-server
  strongroom --config /etc/strongroom.toml codec-server
  temporal workflow show -w order-7 -n payments --codec-endpoint https://codec.example.com:8443 --codec-auth "Bearer $TOKEN"
"""


class _OneLine(logging.Formatter):
    """Formats a record as one line without control characters, because a caller's text may be in it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return escaped(super().format(record))


def _ready(address: str) -> None:
    line(f"listening on {address}")
    sys.stdout.flush()


@click.command(
    "codec-server", cls=Command, without_json="It serves until it is stopped, and prints a log.", epilog=_EXAMPLES
)
@click.pass_obj
def codec_server(config_path: Path) -> None:
    """Serve /encode and /decode, so that Temporal's UI and CLI can show payloads that workers sealed.

    The address, callers, origins and limits are in the section [codec_server] of the configuration. GET /health answers 204.
    On SIGTERM the server answers the requests that it has, and stops.
    """
    try:
        from strongroom.driver.codec.listener import serve  # noqa: PLC0415 - only where it is installed
    except ModuleNotFoundError:
        msg = "the codec server needs packages that are not installed. Run: pip install 'strongroom[codec-server]'"
        raise ConfigError(msg) from None

    async def run(strongroom: Strongroom) -> None:
        config = strongroom.config.codec_server
        if config is None:
            msg = f"{config_path} has no section [codec_server]; add one, as docs/how-to/codec-server.md shows"
            raise ConfigError(msg)
        handler = logging.StreamHandler()
        handler.setFormatter(_OneLine("%(asctime)s %(message)s"))
        logging.basicConfig(handlers=[handler], level=logging.INFO)
        await serve(strongroom, config, ready=_ready)
        INTERRUPTS.install()  # the server had handlers of its own

    with_cell(config_path, run, "codec_server.run")
