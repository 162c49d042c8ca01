from __future__ import annotations

import pytest

from strongroom.kms import LocalProvider


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keyring.json"


@pytest.fixture
async def local_provider(path):
    made = LocalProvider("local", path)
    assert await made.create_keyring()
    await made.create_kek("a")
    return made


@pytest.fixture
async def local_kek(local_provider):
    return await local_provider.create_kek("a")
