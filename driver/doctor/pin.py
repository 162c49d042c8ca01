"""Check that the configuration names the cell's own keys, and that the registry has those."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.driver.cell_keys import check_cell_keys
from strongroom.kms import StrongroomError

from .report import Finding, wrong

if TYPE_CHECKING:
    from strongroom.driver.strongroom import Strongroom

KEYS = "Keys"
"""The section of findings on keys."""


async def cell_keys(strongroom: Strongroom) -> Finding:
    """Compare the cell's own keys with the pin of the configuration."""
    pin = strongroom.config.cell_pin
    if pin is None:
        text = "not pinned: a person who can write to the database and use one KEK of the cell could replace them"
        return Finding(
            KEYS, "cell keys", text, "note", "Run strongroom keys pin, and copy the configuration to every host."
        )
    try:
        await check_cell_keys(strongroom.keyring, strongroom.config)
    except StrongroomError as error:
        return wrong(KEYS, "cell keys", error)
    return Finding(KEYS, "cell keys", f"as pinned: {pin.kek}, commitment {pin.commitment.hex()[:16]}...")
