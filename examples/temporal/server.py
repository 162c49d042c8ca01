"""A Temporal server: its configuration, and its process."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .processes import Process, accepts, free_ports, start

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SERVICES = ("frontend", "history", "matching", "worker")


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a server.

    Attributes:
        grpc: The gRPC port of each service.
        membership: The membership port of each service.
        http: The HTTP port of the frontend.
        metrics: The port of the metrics for Prometheus.
        pprof: The port of Go's profiler.
    """

    grpc: Mapping[str, int]
    membership: Mapping[str, int]
    http: int
    metrics: int
    pprof: int

    @classmethod
    def free(cls) -> Ports:
        """Return ports that are free now."""
        ports = free_ports(2 * len(SERVICES) + 3)
        count = len(SERVICES)
        return cls(
            dict(zip(SERVICES, ports, strict=False)),
            dict(zip(SERVICES, ports[count:], strict=False)),
            *ports[2 * count :],
        )


@dataclass(frozen=True, slots=True)
class Datastores:
    """The section `persistence` of a server's configuration.

    Attributes:
        stores: The stores by name.
        default: The name of the store of histories, state and tasks.
        visibility: The name of the visibility store.
        shards: The number of history shards.
    """

    stores: Mapping[str, Any]
    default: str
    visibility: str
    shards: int


@dataclass(slots=True)
class TemporalServer:
    """A Temporal server with all four services in one process.

    Attributes:
        binary: The program.
        folder: The folder of its configuration and its log.
        name: The name of its process.
        ports: Its ports.
        datastores: Its stores.
        dynamic: Its dynamic configuration.
        process: The process while it runs.
    """

    binary: Path
    folder: Path
    datastores: Datastores
    name: str = "temporal-server"
    ports: Ports = field(default_factory=Ports.free)
    dynamic: Mapping[str, Any] = field(default_factory=dict)
    process: Process | None = None

    @property
    def address(self) -> str:
        """The address of the frontend."""
        return f"127.0.0.1:{self.ports.grpc['frontend']}"

    @property
    def metrics(self) -> str:
        """The address of the metrics."""
        return f"http://127.0.0.1:{self.ports.metrics}/metrics"

    def start(self) -> None:
        """Start the server, and wait until its frontend listens."""
        config = self.folder / f"{self.name}.yaml"
        dynamic = self.folder / f"{self.name}-dynamic.yaml"
        dynamic.write_text(json.dumps({key: [{"value": value}] for key, value in self.dynamic.items()}))
        config.write_text(json.dumps(self.configuration(dynamic), indent=2))
        self.process = start(self.name, [self.binary, "--config-file", config, "--allow-no-auth", "start"], self.folder)
        self.process.wait_until(lambda: accepts(self.ports.grpc["frontend"]), "the frontend")

    def stop(self) -> None:
        """Stop the server if it runs."""
        if self.process is not None:
            self.process.stop()
            self.process = None

    def configuration(self, dynamic: Path) -> dict[str, Any]:
        """Return the configuration. JSON is YAML, so no library is needed to write it."""
        ports = self.ports
        services = {
            name: {
                "rpc": {
                    "grpcPort": ports.grpc[name],
                    "membershipPort": ports.membership[name],
                    "bindOnLocalHost": True,
                    **({"httpPort": ports.http} if name == "frontend" else {}),
                }
            }
            for name in SERVICES
        }
        stores = self.datastores
        return {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": stores.default,
                "visibilityStore": stores.visibility,
                "numHistoryShards": stores.shards,
                "datastores": stores.stores,
            },
            "global": {
                "membership": {"maxJoinDuration": "30s", "broadcastAddress": "127.0.0.1"},
                "pprof": {"port": ports.pprof},
                "metrics": {
                    "prometheus": {
                        "framework": "tally",
                        "timerType": "histogram",
                        "listenAddress": f"127.0.0.1:{ports.metrics}",
                    }
                },
            },
            "services": services,
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {
                    "active": {
                        "enabled": True,
                        "initialFailoverVersion": 1,
                        "rpcName": "frontend",
                        "rpcAddress": self.address,
                    }
                },
            },
            "dcRedirectionPolicy": {"policy": "noop"},
            "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "10s"},
        }
