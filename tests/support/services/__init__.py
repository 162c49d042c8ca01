"""Decides how each service of the integration tests is started, and starts it.

A service is reached in the first of these ways that works:

1. the address in its environment variable, for example `STRONGROOM_POSTGRES_15_URL`;
2. a container, if a Docker engine answers;
3. a local program.

`make test SERVICES=containers` and `SERVICES=local` force one way. A test that stops or breaks its server takes one of its own, never
one that is given by an address. `catalogue.py` has the services, `choice.py` the decision.

    with started(OPENBAO, {Way.LOCAL: ..., Way.CONTAINER: ...}) as server:
"""

from __future__ import annotations

from .catalogue import (
    CHROMIUM,
    CITUS,
    ELASTICSEARCH,
    GO,
    KERNEL,
    OPENBAO,
    PGBOUNCER,
    POSTGRES,
    RSYSLOG,
    SERVICES,
    SOFTHSM,
    VAULT,
)
from .choice import CannotStart, Service, ServiceMissing, Settings, Way, started, ways
from .required import missing, missing_service, or_skip

__all__ = [
    "CHROMIUM",
    "CITUS",
    "ELASTICSEARCH",
    "GO",
    "KERNEL",
    "OPENBAO",
    "PGBOUNCER",
    "POSTGRES",
    "RSYSLOG",
    "SERVICES",
    "SOFTHSM",
    "VAULT",
    "CannotStart",
    "Service",
    "ServiceMissing",
    "Settings",
    "Way",
    "missing",
    "missing_service",
    "or_skip",
    "started",
    "ways",
]
