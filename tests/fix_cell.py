"""An open cell on a real PostgreSQL, with a local keyring and the sample's executions at hand."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from strongroom.driver.config.config import load_config, write_config
from strongroom.driver.importing.import_file import read_import_file
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import KekRef
from tests.fix_driver_role import as_driver


@pytest.fixture
def config_path(dsn, tmp_path):
    """A configuration file for an empty database; not yet initialised."""
    path = tmp_path / "strongroom.toml"
    write_config(path, dsn=dsn)
    return path


@pytest.fixture
async def strongroom(config_path):
    """An open cell, connected as services are: row-level security holds it."""
    config = load_config(config_path)
    await Strongroom.init(config)
    async with Strongroom.open(replace(config, dsn=await as_driver(config.dsn))) as strongroom:
        yield strongroom


@pytest.fixture
async def namespace(strongroom):
    """A namespace with a KEK of its own."""
    kek = KekRef.parse("local:first")
    await strongroom.create_kek(kek)
    return await strongroom.namespaces.create("first", kek=kek)


@pytest.fixture(scope="session")
def sample_path():
    """The sample of real histories."""
    return Path(str(files("strongroom.driver.demo") / "sample" / "workflows.jsonl.gz"))


@pytest.fixture(scope="session")
def sample(sample_path):
    """The executions in the sample."""
    return read_import_file(sample_path)
