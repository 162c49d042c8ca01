"""The cell's own keys are the ones that its configuration names, whatever the registry says."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import pytest

from strongroom.driver.config import ConfigError, load_config, write_pin
from strongroom.driver.strongroom import Strongroom
from strongroom.kms import CellPin, KekRef, PinMismatch, RegistryAltered, rewrap_data_keys
from strongroom.storage import PostgresDataKeyStore
from tests.support.fixtures.command_line import run_command
from tests.support.substituted_keys import substitute

pytestmark = pytest.mark.integration

TENANT = KekRef("local", "tenant")


@pytest.fixture
def pinned(config):
    """The configuration of a cell whose keys are pinned."""
    return config


async def test_init_writes_the_pin_once(dsn, tmp_path):
    """`init` names the cell's own keys in the configuration. Doing it again changes nothing."""
    made = run_command(tmp_path, "init", "--dsn", dsn)
    assert made.returncode == 0, made.stderr
    written = (tmp_path / "strongroom.toml").read_text()
    pin = load_config(tmp_path / "strongroom.toml").cell_pin
    assert pin.kek == KekRef("local", "cell")
    assert pin.commitment.hex() in made.stdout
    assert "# A Strongroom cell." in written
    again = run_command(tmp_path, "init")
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "strongroom.toml").read_text() == written


async def test_replaced_keys_of_the_cell_are_refused_by_a_new_process(pinned, attacker):
    """A cell whose own roots were replaced under a tenant's KEK is not opened."""
    async with Strongroom.open(pinned) as strongroom:
        await strongroom.create_kek(TENANT)
        await substitute(attacker, strongroom.keyring, pinned.cell.cell_id, TENANT)
    with pytest.raises(PinMismatch, match=r"cell\.commitment"):
        async with Strongroom.open(pinned):
            pass


async def test_replaced_keys_of_the_cell_are_refused_by_a_running_process(pinned, attacker):
    """A process that reads the registry again does not use other roots as the cell's own."""
    async with Strongroom.open(pinned) as strongroom:
        await strongroom.create_kek(TENANT)
        await strongroom.keyring.open(pinned.cell.cell_id)
        await substitute(attacker, strongroom.keyring, pinned.cell.cell_id, TENANT)
        strongroom.keyring.evict(pinned.cell.cell_id)
        with pytest.raises((PinMismatch, RegistryAltered)):
            await strongroom.keyring.open(pinned.cell.cell_id)


async def test_another_kek_of_the_cell_is_refused_until_it_is_pinned(pinned, config_path):
    """A legitimate move of the cell's keys is accepted by `keys pin`, which shows the old and the new KEK."""
    async with Strongroom.open(pinned) as strongroom:
        await strongroom.create_kek(TENANT)
        await rewrap_data_keys(strongroom.keyring, KekRef("local", "cell"), to=TENANT)
    with pytest.raises(PinMismatch, match="strongroom keys pin"):
        async with Strongroom.open(pinned):
            pass
    wrong = run_command(config_path.parent, "keys", "pin", "--confirm", "local:cell")
    assert wrong.returncode == 2
    assert load_config(config_path).cell_pin == pinned.cell_pin
    done = run_command(config_path.parent, "keys", "pin", "--confirm", "local:tenant")
    assert done.returncode == 0, done.stderr
    assert "local:cell" in done.stdout
    assert "local:tenant" in done.stdout
    async with Strongroom.open(load_config(config_path)):
        pass


async def test_an_interrupted_move_of_the_cells_keys_is_completed(pinned, config_path, monkeypatch):
    """`keys rewrap` can be run again while the cell's own keys are under two KEKs; `keys pin` accepts the new one afterwards."""
    rewrap = PostgresDataKeyStore.rewrap_data_keys

    async def rewrap_one(store, pairs):
        return await rewrap(store, pairs[:1])

    async with Strongroom.open(pinned) as strongroom:
        await strongroom.create_kek(TENANT)
        monkeypatch.setattr(PostgresDataKeyStore, "rewrap_data_keys", rewrap_one)
        await rewrap_data_keys(strongroom.keyring, KekRef("local", "cell"), to=TENANT)
    pin = ("keys", "pin", "--confirm", "local:tenant")
    assert run_command(config_path.parent, *pin).returncode == 2
    done = run_command(config_path.parent, "keys", "rewrap", "local:cell", "--to", "local:tenant")
    assert done.returncode == 0, done.stderr
    assert "strongroom keys pin" in done.stdout
    assert run_command(config_path.parent, *pin).returncode == 0
    async with Strongroom.open(load_config(config_path)):
        pass


async def test_moving_keys_compares_the_commitment(pinned, config_path, attacker):
    """`keys rewrap` does not work for a cell whose identity root was replaced."""
    async with Strongroom.open(pinned) as strongroom:
        await strongroom.create_kek(TENANT)
        await substitute(attacker, strongroom.keyring, pinned.cell.cell_id, TENANT)
    refused = run_command(config_path.parent, "keys", "rewrap", "local:tenant", "--to", "local:cell")
    assert refused.returncode == 2
    assert "cell.commitment" in refused.stderr


async def test_a_commitment_without_a_kek_is_compared(pinned):
    """A configuration that names only the commitment accepts no other identity root."""
    async with Strongroom.open(replace(pinned, cell_kek=None)):
        pass
    with pytest.raises(PinMismatch, match=r"cell\.commitment"):
        async with Strongroom.open(replace(pinned, cell_kek=None, cell_commitment=b"\0" * 32)):
            pass


@pytest.mark.parametrize(
    "text", ["[cell]\nid = 1", "[cell] # mine\r\nkek = 'local:old'\r\nid = 1\r\n[kms]\r\nkek = 'x'\r\n"]
)
def test_writing_a_pin_changes_nothing_else(tmp_path, text):
    """The pin replaces two settings of one section, and keeps the file's mode."""
    path = tmp_path / "strongroom.toml"
    path.write_text(text, newline="")
    path.chmod(0o640)
    write_pin(path, CellPin(KekRef("local", "new"), b"\x5c" * 32))
    changed = path.read_bytes().decode()
    assert 'kek = "local:new"' in changed
    assert "local:old" not in changed
    assert ("kek = 'x'" in text) == ("kek = 'x'" in changed)
    assert path.stat().st_mode & 0o777 == 0o640


def test_writing_a_pin_keeps_the_form_of_windows(tmp_path):
    """The byte order mark and the ends of lines stay."""
    path = tmp_path / "strongroom.toml"
    path.write_bytes(b"\xef\xbb\xbf[cell]\r\nid = 1\r\n")
    write_pin(path, CellPin(KekRef("local", "new"), b"\x5c" * 32))
    changed = path.read_bytes()
    assert changed.startswith(b"\xef\xbb\xbf[cell]\r\nkek = ")
    assert changed.count(b"\n") == changed.count(b"\r\n") == 4


def test_a_kek_with_quotes_is_written(tmp_path):
    """Labels of a PKCS#11 token may have any character."""
    path = tmp_path / "strongroom.toml"
    path.write_text("[cell]\nid = 1")
    write_pin(path, CellPin(KekRef("hsm", 'a "key" \\ é'), b"\x5c" * 32))
    assert tomllib.loads(path.read_text())["cell"]["kek"] == 'hsm:a "key" \\ é'


@pytest.mark.parametrize("text", ["cell = {id = 1}", "cell.id = 1", 'x = """\n[cell]\n"""\n[cell]\nid = 1'])
def test_a_form_that_can_not_be_changed_safely_is_refused(tmp_path, text):
    """The message has the lines that a person writes."""
    path = tmp_path / "strongroom.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="local:new"):
        write_pin(path, CellPin(KekRef("local", "new"), b"\x5c" * 32))
    assert path.read_text() == text


async def test_an_unpinned_configuration_accepts_the_registry(pinned):
    """The control for the pin itself: without it, any identity key is accepted."""
    async with Strongroom.open(replace(pinned, cell_commitment=None)):
        pass
    with pytest.raises(PinMismatch):
        async with Strongroom.open(replace(pinned, cell_commitment=b"\0" * 32)):
            pass
