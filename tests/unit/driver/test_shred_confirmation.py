"""What `namespace shred` asks for before the first step."""

from __future__ import annotations

from click.testing import CliRunner

from strongroom.driver.cli.main import cli
from strongroom.driver.config import ConfigError

LOST = "36638014-d223-4edb-aee6-eaf993c914a5"
"""A namespace whose KEK is lost, so that nobody knows its name."""


def shred(typed):
    """Run the first step for a namespace that is named by its id, and type an answer."""
    return CliRunner().invoke(cli, ["--config", "missing.toml", "namespace", "shred", LOST], input=f"{typed}\n")


def test_a_namespace_that_is_named_by_its_id_is_confirmed_by_its_id():
    """The question asks for what the command accepts: the id, if the id was given. Afterwards the configuration is read."""
    confirmed = shred(LOST)
    assert "Type its name or id again" in confirmed.output
    assert isinstance(confirmed.exception, ConfigError)


def test_another_confirmation_is_refused():
    """Control: what is not the given id stops the command before it reads the configuration."""
    refused = shred("payments")
    assert isinstance(refused.exception, SystemExit)
    assert "not the name or id that you gave" in refused.output
