"""What most commands do first: open the configured cell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import click

from strongroom.kms import Suite

from .config import load_config
from .strongroom import Strongroom

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SUITES = {"xaes-256-gcm": Suite.XAES_256_GCM, "aes-256-gcm": Suite.AES_256_GCM}


def as_id(_context: click.Context, _parameter: click.Parameter, value: str) -> UUID:
    """Read a namespace's id; click's own type repeats what it can't read, and that may be a name."""
    try:
        return UUID(value)
    except ValueError:
        msg = "a namespace's id is a UUID; `strongroom namespace list` shows it"
        raise click.BadParameter(msg) from None


def with_cell(config_path: Path, run: Callable[[Strongroom], Awaitable[None]]) -> None:
    """Open the configured cell, and run a command in it."""

    async def opened() -> None:
        async with Strongroom.open(load_config(config_path)) as strongroom:
            await run(strongroom)

    asyncio.run(opened())
