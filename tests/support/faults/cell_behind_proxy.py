"""A cell that is opened through a proxy, which can cut and delay its connections."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit, urlunsplit

from strongroom.driver.strongroom import Strongroom
from tests.support.faults.proxy import proxied


@asynccontextmanager
async def proxied_database(dsn):
    """Serve a proxy of a database. Yield it, and the connection string through it."""
    parts = urlsplit(dsn)
    folder = parse_qs(parts.query)["host"][0]
    with tempfile.TemporaryDirectory(prefix="strongroom-proxy-") as proxy_folder:
        path = Path(proxy_folder) / ".s.PGSQL.5432"
        async with proxied(f"{folder}/.s.PGSQL.5432", str(path)) as proxy:
            yield proxy, urlunsplit(parts._replace(query=f"host={proxy_folder}"))


@asynccontextmanager
async def behind_proxy(cell):
    """Yield the cell as it is opened through a proxy, and the proxy."""
    async with (
        proxied_database(cell.config.dsn) as (proxy, dsn),
        Strongroom.open(replace(cell.config, dsn=dsn)) as through,
    ):
        yield through, proxy
