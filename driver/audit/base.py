"""The signed statement that the first records of a stream were pruned: `base.json` in the stream's folder."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import orjson

from strongroom.kms.private_files import open_regular

from .checkpoint import PRUNED_PREFIX, Checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def read_base(folder: Path) -> tuple[int, bytes] | None:
    """Return number and chain of the last pruned record; None if nothing was pruned, or if the statement can't be read."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError), open_regular(folder / "base.json") as file:
        base = orjson.loads(file.read())
        return int(base["sequence"]), bytes.fromhex(base["chain"])
    return None


def is_signed_base(folder: Path, public_key: bytes) -> bool:
    """Return whether the statement of a stream is signed by the cell's audit key."""
    with suppress(ValueError, KeyError, TypeError, OverflowError), open_regular(folder / "base.json") as file:
        base = orjson.loads(file.read())
        pruned = Checkpoint(UUID(base["stream"]), base["sequence"], bytes.fromhex(base["chain"]))
        signature = bytes.fromhex(base["signature"])
        return pruned.is_signed(signature, public_key=public_key, prefix=PRUNED_PREFIX)
    return False
