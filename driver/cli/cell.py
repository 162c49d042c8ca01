"""What most commands do first: open the configured cell, see who runs them, and have the audit log told."""

from __future__ import annotations

import asyncio
import getpass
import os
from typing import TYPE_CHECKING
from uuid import UUID

import click

from strongroom.driver.access import CALLER, Decision, NotAuthenticated, Session
from strongroom.driver.config import ConfigError, load_config
from strongroom.driver.stores import OPERATIONS
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import Suite

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

SUITES = {"xaes-256-gcm": Suite.XAES_256_GCM, "aes-256-gcm": Suite.AES_256_GCM}
API_KEY = "STRONGROOM_API_KEY"


def as_id(_context: click.Context, _parameter: click.Parameter, value: str) -> UUID:
    """Read a namespace's id; click's own type repeats what it can't read, and that may be a name."""
    try:
        return UUID(value)
    except ValueError:
        msg = "a namespace's id is a UUID; `strongroom namespace list` shows it"
        raise click.BadParameter(msg) from None


def named(text: str) -> dict[str, object]:
    """Return a namespace that was given by name or by id, for `with_cell`."""
    try:
        return {"namespace_id": UUID(text)}
    except ValueError:
        return {"name": text}


def caller_name() -> str:
    """Return the principal that runs the command; within `with_cell`."""
    return str(CALLER.get().get("principal", ""))


def with_cell(
    config_path: Path, run: Callable[[Strongroom], Awaitable[None]], operation: str, **arguments: object
) -> None:
    """Open the configured cell, and run a command in it as an operation of the catalogue.

    Args:
        config_path: of the configuration.
        run: the command.
        operation: its name in the catalogue.
        arguments: what it is about: `name` or `namespace_id` for a namespace; others for the audit log.
    """
    assert operation in OPERATIONS  # noqa: S101 - a typing mistake, which a test finds

    async def opened() -> None:
        async with Strongroom.open(load_config(config_path)) as strongroom:
            caller = await caller_of(strongroom)
            given = {name: value for name, value in arguments.items() if value is not None}
            if caller is None:
                await run(strongroom)
                return
            async with caller.performing(operation, **given):  # type: ignore[arg-type]
                await run(strongroom)

    asyncio.run(opened())


async def caller_of(strongroom: Strongroom) -> Session | None:
    """Return who runs a command: the principal of the API key in `STRONGROOM_API_KEY`.

    Where a cell has no access policy, whoever can read its configuration may do anything; the audit log, if there is one, is told
    the name of the operating system's user.

    Raises:
        NotAuthenticated: there is a policy, and no key that it knows.
    """
    policy = await strongroom.access.latest()
    if policy.version == 0 and not strongroom.config.access_enforced:
        if strongroom.audit is None:
            return None
        name = f"os:{getpass.getuser()}"
        return strongroom.session(name, credential="configuration", decide=_anything)
    if policy.version == 0:
        msg = "the configuration says access.enforce, and the database has no access policy: it was taken away, or is another's"
        raise ConfigError(msg)
    key = os.environ.get(API_KEY)
    if not key:
        msg = f"this cell has access control: set the variable {API_KEY} to your API key"
        raise NotAuthenticated(msg)
    return await strongroom.authenticated(api_key=key)


def _anything(*_: object, **__: object) -> Decision:
    return Decision(allowed=True)
