"""The whole server: sockets, workers, health endpoint, and the signals that stop it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from .health import Health, health_endpoint
from .logs import LOG, log_to_stderr
from .sockets import WorkerSockets
from .supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from strongroom.driver.config import ServeConfig

    from .process import Patience


class Running:
    """A running server.

    Args:
        document: The content of the configuration.
        config_path: Its path.
        settings: Its section `[serve]`.
        ready: Is called once, with the addresses, when all workers serve.
        patience: The delays and deadlines of the supervisor.
    """

    def __init__(
        self,
        document: dict[str, Any],
        config_path: Path,
        settings: ServeConfig,
        ready: Callable[[list[str]], None],
        *,
        patience: Patience | None = None,
    ) -> None:
        self._document, self._config_path = document, config_path
        self._settings, self._ready = settings, ready
        self._patience = patience
        self._supervisor: Supervisor | None = None

    async def run(self) -> None:
        """Serve until `stop` is called.

        Raises:
            ConfigError: A socket or an address can't be used.
        """
        log_to_stderr()
        settings = self._settings
        sockets = await asyncio.to_thread(WorkerSockets, settings.socket, settings.workers)
        addresses = [f"unix:{settings.socket}"]
        try:
            self._supervisor = supervisor = Supervisor(
                self._document,
                folder=str(self._config_path.parent.absolute()),
                source=str(self._config_path),
                sockets=sockets,
                drain_seconds=settings.drain_seconds,
                ready=lambda: self._ready(addresses),
                patience=self._patience,
            )
            async with health_endpoint(settings.health, Health(supervisor.health)) as address:
                addresses += [] if address is None else [address]
                await supervisor.run()
        finally:
            sockets.close()

    def stop(self) -> None:
        """Stop: the workers answer the calls that they have. The second time it kills the workers."""
        if self._supervisor is not None:
            self._supervisor.stop()

    def hang_up(self) -> None:
        """Log that SIGHUP changes nothing."""
        LOG.info("SIGHUP has no effect; restart the server to use a changed configuration")
