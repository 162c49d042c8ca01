"""Check the cell's own keys against the configuration, and the whole key registry against its heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.driver.cell_keys import check_cell_keys
from strongroom.kms import StrongroomError

from .report import Finding, wrong

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from strongroom.driver.strongroom import Strongroom

KEYS = "Keys"
"""The section of findings on keys."""


async def key_registry(strongroom: Strongroom) -> AsyncIterator[Finding]:
    """Compare the cell's own keys with the pin, and check every head of the registry. Other checks need both."""
    config = strongroom.config
    if config.cell_commitment is None:
        text = "not pinned: a person who can write to the database and use one KEK of the cell could replace them"
        advice = "Run strongroom keys pin, and copy the configuration to every host."
        yield Finding(KEYS, "cell keys", text, "note", advice)
    else:
        try:
            await check_cell_keys(strongroom.keyring, config)
        except StrongroomError as error:
            yield wrong(KEYS, "cell keys", error)
            return
        yield Finding(
            KEYS,
            "cell keys",
            f"as pinned: {config.cell_kek or 'any KEK'}, commitment {config.cell_commitment.hex()[:16]}...",
        )
    try:
        used = await strongroom.keyring.store.list_kek_usage()
    except StrongroomError as error:
        yield wrong(KEYS, "key registry", error)
        return
    yield Finding(KEYS, "key registry", f"authenticated: {sum(each.keys for each in used)} keys")
