"""The doctor's checks of the server that a Temporal server calls."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from strongroom.driver.config import ConfigError
from strongroom.kms import StrongroomError
from strongroom.storage import current_version

from .report import Finding, wrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.driver.config import ServeConfig
    from strongroom.driver.serve.handshake import Welcome
    from strongroom.driver.strongroom import Strongroom

SERVE = "Serve"


async def server(strongroom: Strongroom) -> AsyncIterator[Finding]:
    """Check the section `[serve]`, and shake hands with each worker of the server if it runs. Without the section yield nothing."""
    settings = strongroom.config.serve
    if settings is None:
        return
    try:
        from strongroom.driver.serve import loops, preflight  # noqa: PLC0415 - needs an extra
    except ModuleNotFoundError:
        advice = "Run: pip install 'strongroom[serve]'"
        yield Finding(SERVE, "packages", "strongroom serve needs packages that are not installed", "wrong", advice)
        return
    name = loops.loop_name()
    if name == loops.ASYNCIO:
        hint = "Install uvloop: small calls of the Temporal server then take less CPU time."
        yield Finding(SERVE, "event loop", name, "note", hint)
    else:
        yield Finding(SERVE, "event loop", name)
    needed = preflight.needed_connections(strongroom.config, settings.workers)
    try:
        warning = await preflight.connection_warning(strongroom.database, strongroom.config, settings.workers)
    except StrongroomError as error:
        yield wrong(SERVE, "connections for workers", error)
        return
    if warning is None:
        yield Finding(SERVE, "connections for workers", f"up to {needed}, which PostgreSQL allows")
    else:
        yield Finding(
            SERVE, "connections for workers", warning, "wrong", "Count the connections of other programs too."
        )
    async for finding in _workers(strongroom, settings):
        yield finding


async def _workers(strongroom: Strongroom, settings: ServeConfig) -> AsyncIterator[Finding]:
    from strongroom.driver.serve.handshake import Refused  # noqa: PLC0415 - needs an extra
    from strongroom.driver.serve.probe import probe  # noqa: PLC0415
    from strongroom.driver.serve.sockets import worker_path  # noqa: PLC0415

    for worker in range(settings.workers):
        path, check = worker_path(settings.socket, worker), f"worker {worker}"
        try:
            answer = await probe(path, strongroom.config.cell.shard_count)
        except ConfigError as error:
            advice = "Start strongroom serve, or correct serve.socket. A server that restarts a worker answers a little later."
            yield Finding(SERVE, check, str(error), "note" if worker == 0 else "wrong", advice)
            return
        if isinstance(answer, Refused):
            yield Finding(SERVE, check, answer.message, "wrong", "The Temporal server gets the same answer.")
            continue
        faults = _differences(answer, strongroom, worker, settings)
        text = f"{path}, version {answer.product}, {answer.shard_count} shards"
        if faults:
            advice = "Restart strongroom serve with this configuration and this version."
            yield Finding(SERVE, check, "; ".join(faults), "wrong", advice)
        else:
            yield Finding(SERVE, check, text)


def _differences(answer: Welcome, strongroom: Strongroom, worker: int, settings: ServeConfig) -> list[str]:
    cell = strongroom.config.cell
    pairs = (
        ("cell", answer.cell_id, cell.cell_id),
        ("shards", answer.shard_count, cell.shard_count),
        ("version", answer.product, version("strongroom")),
        ("schema version", answer.schema, current_version()),
        ("worker", answer.worker, worker),
        ("workers", answer.workers, settings.workers),
    )
    return [f"{name} {running} runs, and here it is {here}" for name, running, here in pairs if running != here]
