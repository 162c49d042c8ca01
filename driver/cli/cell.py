"""The common part of most commands: open the configured cell, authenticate the caller, and record the operation."""

from __future__ import annotations

import getpass
import os
from contextlib import nullcontext, suppress
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING
from uuid import UUID

import click

from strongroom.driver.access import CALLER, Decision, NotAuthenticated, Session
from strongroom.driver.audit import LogSettings
from strongroom.driver.config import ConfigError, load_config
from strongroom.driver.freshness import anchor_change
from strongroom.driver.stores import OPERATIONS
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import NO_KEY_EVENTS, KeyDisabled, KeyNotFound, StrongroomError, Suite

from .interrupts import INTERRUPTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

SUITES = {"xaes-256-gcm": Suite.XAES_256_GCM, "aes-256-gcm": Suite.AES_256_GCM}
API_KEY = "STRONGROOM_API_KEY"
LOG_SETTINGS = LogSettings(write_timeout=30.0)
"""A command waits longer for its audit log than a call of a service: ending in the middle costs an operator more than waiting does."""


def as_id(_context: click.Context, _parameter: click.Parameter, value: str) -> UUID:
    """Return a namespace's id. Unlike click's own type, the error does not repeat the value, which may be a name."""
    try:
        return UUID(value)
    except ValueError:
        msg = "the id of a namespace is a UUID; `strongroom namespace list` shows it"
        raise click.BadParameter(msg) from None


def named(text: str) -> dict[str, object]:
    """Return the argument of `with_cell` for a namespace that is given by its name or its id."""
    try:
        return {"namespace_id": UUID(text)}
    except ValueError:
        return {"name": text}


async def namespace_id_of(strongroom: Strongroom, text: str) -> UUID:
    """Return the id of a namespace that is given by its name or its id. The id also works if the namespace's KEK is lost.

    Raises:
        NamespaceNotFound: There is no such namespace.
    """
    given, keyring = named(text).get("namespace_id"), strongroom.keyring
    if isinstance(given, UUID) and given != keyring.cell_id and await keyring.store.list_data_keys(given):
        return given
    return await strongroom.namespaces.find(text)


def caller_name() -> str:
    """Return the principal that runs the command. Use it only within `with_cell`."""
    return str(CALLER.get().get("principal", ""))


def with_cell(
    config_path: Path, run: Callable[[Strongroom], Awaitable[None]], operation: str, **arguments: object
) -> None:
    """Open the configured cell, and run a command in it as an operation of the catalogue.

    Args:
        config_path: The configuration.
        run: The command.
        operation: Its name in the catalogue.
        arguments: Its arguments: `name` or `namespace_id` for a namespace; others are recorded in the audit log.

    Raises:
        ConfigError: The configuration can't be used.
        NotAuthenticated: The cell has access control, and the caller has no valid API key.
        PermissionDenied: The caller may not run the operation.
    """
    INTERRUPTS.run(_perform(config_path, run, operation, arguments))


def with_diverged_keyrings(
    config_path: Path, run: Callable[[Strongroom], Awaitable[None]], operation: str, **arguments: object
) -> None:
    """Run a command that repairs keyring files, even if one is not the copy that the registry records. See `with_cell`."""
    INTERRUPTS.run(_perform(config_path, run, operation, arguments, check_keyrings=False))


def with_other_pin(
    config_path: Path, run: Callable[[Strongroom], Awaitable[None]], operation: str, **arguments: object
) -> None:
    """Run a command that changes the pin of the cell's own keys, so that the pin is not compared. See `with_cell`."""
    INTERRUPTS.run(_perform(config_path, run, operation, arguments, check_keys=False))


def with_moved_cell_keys(
    config_path: Path, run: Callable[[Strongroom], Awaitable[None]], operation: str, **arguments: object
) -> None:
    """Run a command that moves keys to another KEK, even if it was interrupted while it moved the cell's own keys. See `with_cell`.

    The commitment of the pin is compared, and the heads of the registry authenticate which KEK wraps which key.
    """
    INTERRUPTS.run(_perform(config_path, run, operation, arguments, check_kek=False))


def with_older_database(
    config_path: Path, run: Callable[[Strongroom], Awaitable[None]], operation: str, **arguments: object
) -> None:
    """Run a command, even if the database is older than an anchored state. See `with_cell`."""
    INTERRUPTS.run(_perform(config_path, run, operation, arguments, accept_older=True))


def with_unrecorded_cell(config_path: Path, run: Callable[[Strongroom], Awaitable[None]], operation: str) -> None:
    """Run a command that only reads, without appending to the audit log, even if the database is older than an anchored state.

    Args:
        config_path: The configuration.
        run: The command.
        operation: Its name in the catalogue. It is an operation on the cell.

    Raises:
        ConfigError, NotAuthenticated, PermissionDenied: As `with_cell`.
    """

    async def unrecorded() -> None:
        config = load_config(config_path)
        async with Strongroom.open(config, audit=NO_KEY_EVENTS, accept_older=True) as strongroom:
            caller = await caller_of(strongroom)
            if caller is not None:
                await caller.permits(operation)
            await run(strongroom)

    INTERRUPTS.run(unrecorded())


async def _perform(
    config_path: Path,
    run: Callable[[Strongroom], Awaitable[None]],
    operation: str,
    arguments: Mapping[str, object],
    *,
    check_keyrings: bool = True,
    check_keys: bool = True,
    check_kek: bool = True,
    accept_older: bool = False,
) -> None:
    assert operation in OPERATIONS  # noqa: S101 - a misspelt name, which a test finds
    config = load_config(config_path)
    if not check_keys:
        config = replace(config, cell_commitment=None)
    if not check_kek:
        config = replace(config, cell_kek=None)
    async with Strongroom.open(
        config, log_settings=LOG_SETTINGS, check_keyrings=check_keyrings, accept_older=accept_older
    ) as strongroom:
        caller = await caller_of(strongroom)
        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            async with nullcontext() if caller is None else caller.performing(operation, **given):  # type: ignore[arg-type]
                await run(strongroom)
            if not OPERATIONS[operation].reads:
                await _anchor(strongroom)
        except (KeyDisabled, KeyNotFound):
            await _explain_shredding(strongroom, given)
            raise


async def _anchor(strongroom: Strongroom) -> None:
    """Write anchors of a change. When a process ends, there is less time for them."""
    if strongroom.audit is not None:
        with suppress(StrongroomError):
            await strongroom.audit.checkpoint()
    await anchor_change(strongroom)


async def _explain_shredding(strongroom: Strongroom, given: Mapping[str, object]) -> None:
    """Raise an error that names the way back, if the command's namespace waits for shredding, which disables its keys."""
    namespace_id = given.get("namespace_id")
    if not isinstance(namespace_id, UUID) and "name" in given:
        with suppress(StrongroomError):
            namespace_id = await strongroom.namespaces.find(str(given["name"]))
    if not isinstance(namespace_id, UUID):
        return
    request = await strongroom.shredding().store.find(namespace_id)
    if request is None:
        return
    name = given.get("name", namespace_id)
    if request.confirmed_at is not None:
        msg = f"namespace {name} was shredded at {request.confirmed_at:%Y-%m-%d %H:%M} UTC and can't be read again"
        raise KeyDisabled(msg)
    msg = (
        f"namespace {name} is scheduled for shredding and can't be read. Until its second confirmation, which is possible "
        f"from {request.due_at:%Y-%m-%d %H:%M} UTC, you can undo this with: strongroom namespace unshred {quote(str(name))}"
    )
    raise KeyDisabled(msg)


async def caller_of(strongroom: Strongroom) -> Session | None:
    """Return the session of the caller: the principal of the API key in `STRONGROOM_API_KEY`.

    In a cell without an access policy every user who can read its configuration may do anything. The audit log, if there is one,
    records the name of the operating system's user. Without an audit log there is no session, and None is returned. A policy
    without principals only has the retention of audit records, so it counts as none.

    Raises:
        ConfigError: `access.enforce` is set, and the database has no access policy.
        NotAuthenticated: The cell has an access policy, and the API key is missing or unknown.
    """
    policy = await strongroom.access.latest()
    if not policy.principals and not strongroom.config.access_enforced:
        if strongroom.audit is None:
            return None
        name = f"os:{_os_user()}"
        return strongroom.session(name, credential="configuration", decide=_anything)
    if not policy.principals:
        msg = "access.enforce is set and the database has no access policy. Check the dsn, or restore the policy from a backup"
        raise ConfigError(msg)
    key = os.environ.get(API_KEY)
    if not key:
        msg = f"this cell has access control; set the environment variable {API_KEY} to your API key"
        raise NotAuthenticated(msg)
    return await strongroom.authenticated(api_key=key)


def _os_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no entry for this user, as in a container that runs with any user id
        return str(os.getuid())


def _anything(*_: object, **__: object) -> Decision:
    return Decision(allowed=True)
