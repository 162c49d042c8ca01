"""IronCore Alloy, standalone: the only other library that has a batch operation."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import ironcore_alloy as alloy

from benchmarks.sealing.contenders.protocol import Contender, installed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sealing.contenders.protocol import Row, Sealed


def contenders() -> list[Contender]:
    """Return the contender. Each row is a standard document with one field, and one call handles all rows of a batch."""
    secret = alloy.StandaloneSecret(1, alloy.Secret(os.urandom(32)))
    sdk = alloy.Standalone(alloy.StandaloneConfiguration(alloy.StandardSecrets(1, [secret]), {}, {}))
    standard, metadata = sdk.standard(), alloy.AlloyMetadata.new_simple("namespace")
    loop = asyncio.new_event_loop()

    def seal(rows: Sequence[Row]) -> list[Any]:
        documents = {str(number): {"data": plaintext} for number, (_, plaintext) in enumerate(rows)}
        done = loop.run_until_complete(standard.encrypt_batch(documents, metadata))
        assert not done.failures
        return [done.successes[number] for number in documents]

    def open_(sealed: Sealed) -> list[bytes]:
        documents = {str(number): value for number, (_, value) in enumerate(sealed)}
        done = loop.run_until_complete(standard.decrypt_batch(documents, metadata))
        assert not done.failures
        return [done.successes[number]["data"] for number in documents]

    differs = "wraps a new data key for each document; no associated data; documents are objects, not bytes"
    return [
        Contender(
            "IronCore Alloy, batch",
            installed("ironcore-alloy"),
            differs,
            seal,
            open_,
            lambda key, plaintext: seal([(key, plaintext)])[0],
            lambda key, value: open_([(key, value)])[0],
        )
    ]
