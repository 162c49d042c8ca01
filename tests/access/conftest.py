"""A cell with an access policy, and sessions of principals in it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from strongroom.driver.access import changes
from strongroom.driver.config import load_config
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from tests.support.access.people import OWNER, bound
from tests.support.audit.disk import Disk


@pytest.fixture
def disk():
    """The disk of the cell's audit log, which can hang or fail."""
    disk = Disk()
    yield disk
    disk.works()
    disk.goes()


@pytest.fixture
async def access_cell(config_path, disk):
    """An open cell with an owner, and with two namespaces: `one` and `two`."""
    config = load_config(config_path)
    await Strongroom.init(config)
    async with Strongroom.open(config, log_settings=disk.settings()) as strongroom:
        await strongroom.access.change(lambda _: changes.first_owner(OWNER, now=datetime.now(UTC)))
        kek = await strongroom.create_kek(KekRef.parse("local:shared"))
        for name in ("one", "two"):
            await strongroom.namespaces.create(name, kek=kek)
        yield strongroom


@pytest.fixture
async def one(access_cell):
    """The id of the first namespace."""
    return await access_cell.namespaces.find("one")


@pytest.fixture
async def two(access_cell):
    """The id of the second namespace."""
    return await access_cell.namespaces.find("two")


@pytest.fixture
async def session_with(access_cell):
    """Return a function that returns a session of a new principal with some roles, each with a namespace or None."""
    count = 0

    async def make(*roles):
        nonlocal count
        count += 1
        name = f"person-{count}"
        await bound(access_cell, name, *roles)
        return access_cell.session(name)

    return make
