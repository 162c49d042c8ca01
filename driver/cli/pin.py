"""The command that pins the cell's own keys in the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.driver.cell_keys import cell_keys
from strongroom.driver.config import load_config, write_pin
from strongroom.kms import KeyEvent, pin_of, recording_change

from .cell import with_other_pin
from .commands import Command
from .show.output import ask, json_wanted, line, result

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.driver.strongroom import Strongroom
    from strongroom.kms import CellPin


@click.command(
    "pin",
    cls=Command,
    epilog="\b\nExamples:\n  strongroom keys pin\n  strongroom keys pin --confirm aws-kms:alias/cell --json",
)
@click.option("--confirm", metavar="KEK", help="The KEK of the registry, in place of the prompt.")
@click.pass_obj
def pin(config_path: Path, confirm: str | None) -> None:
    """Accept the cell's own keys as the registry names them, and write their KEK and commitment into the configuration.

    Run it after `keys rewrap` moved the cell's own keys to another KEK, and copy the configuration to every host. Don't run it to
    make an error disappear: if no operator moved the keys, an attacker replaced them.
    """

    async def run(strongroom: Strongroom) -> None:
        written = load_config(config_path)
        found = pin_of(await cell_keys(strongroom.keyring))
        document = {
            "config": config_path,
            "old": {"kek": written.cell_kek, "commitment": _hex(written.cell_commitment)},
            "new": {"kek": str(found.kek), "commitment": found.commitment.hex()},
        }
        if written.cell_pin == found:
            result({**document, "changed": False}, f"the configuration names the registry's keys; {_text(found)}")
            return
        if not json_wanted():
            line(f"in {config_path}:")
            line(f"  kek         {written.cell_kek or 'none'}")
            line(f"  commitment  {_hex(written.cell_commitment) or 'none'}")
            line("in the registry:")
            line(f"  kek         {found.kek}")
            line(f"  commitment  {found.commitment.hex()}")
            if written.cell_commitment not in (None, found.commitment):
                line(
                    "The commitment never changes in the life of a cell. Another one means another cell, or replaced keys."
                )
        if confirm is None:
            given = ask(
                "A person who holds these keys can read and forge everything in the cell. Type the registry's KEK to accept them"
            )
        else:
            given = confirm
        if given != str(found.kek):
            msg = "the confirmation is not the KEK of the registry, and nothing was changed; run the command again"
            raise click.UsageError(msg)
        event = KeyEvent("cell.pin", provider=found.kek.provider, kek_id=found.kek.key_id, note=found.commitment.hex())
        async with recording_change(strongroom.keyring.key_events, event):
            await strongroom.keyring.open(strongroom.keyring.cell_id)  # the KEK must be usable
            write_pin(config_path, found)
        result({**document, "changed": True}, f"wrote {config_path}; copy it to every host of the cell; {_text(found)}")

    with_other_pin(config_path, run, "keys.pin", kek=confirm)


def _hex(commitment: bytes | None) -> str | None:
    return None if commitment is None else commitment.hex()


def _text(pin: CellPin) -> str:
    return f"the cell's own keys are wrapped by {pin.kek}, commitment {pin.commitment.hex()[:16]}..."
