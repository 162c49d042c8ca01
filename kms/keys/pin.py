"""The pin of a cell: the KEK and the identity root of its own keys, as its configuration names them (FORMAT.md section 6.5).

The registry alone can't prove which keys are the cell's own. An attacker who can write to the database could otherwise register
roots of their choice, wrapped by any KEK that the cell may use.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.errors import KeyNotFound, PinMismatch
from strongroom.kms.provider import KekRef

from .registry import KeyClass, KeyState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .registry import DataKeyRecord

_COMMAND = "strongroom keys pin"


@dataclass(frozen=True, slots=True)
class CellPin:
    """The keys that a cell accepts as its own.

    Attributes:
        kek: The KEK that wraps them.
        commitment: The commitment of the identity root, 32 bytes. The identity root never changes.
    """

    kek: KekRef
    commitment: bytes


def pin_of(records: Sequence[DataKeyRecord]) -> CellPin:
    """Return the pin that fits the cell's rows of the registry.

    Raises:
        KeyNotFound: The cell has no identity key.
        PinMismatch: Several KEKs wrap the cell's keys.
    """
    identity = _identity(records)
    if identity is None:
        msg = "the cell has no keys yet; run: strongroom init"
        raise KeyNotFound(msg)
    keks = _keks(records)
    if len(keks) != 1:
        names = ", ".join(map(str, keks))
        msg = f"the cell's own keys are wrapped by several KEKs: {names}. Move them to one first: strongroom keys rewrap KEK --to KEK"
        raise PinMismatch(msg)
    return CellPin(keks[0], identity.commitment)


def check_pin(records: Sequence[DataKeyRecord], pin: CellPin) -> None:
    """Compare the cell's rows of the registry with the pin. No KMS is called.

    Raises:
        PinMismatch: A row is under another KEK, or the identity root is another one.
    """
    check_commitment(records, pin.commitment)
    others = [kek for kek in _keks(records) if kek != pin.kek]
    if others:
        msg = (
            f"the configuration names {pin.kek} as the KEK of the cell's own keys (cell.kek), and the registry names "
            f"{', '.join(map(str, others))}. If you moved the keys to that KEK, run: {_COMMAND}. If no operator did, an "
            "attacker changed the registry: don't run it, and restore the registry from a backup"
        )
        raise PinMismatch(msg)


def check_commitment(records: Iterable[DataKeyRecord], commitment: bytes) -> None:
    """Compare the identity root in the cell's rows with the pinned one.

    Raises:
        PinMismatch: The rows have another identity root, or none.
    """
    identity = _identity(records)
    if identity is None:
        msg = (
            f"the registry has no keys of the cell, and the configuration names the commitment {commitment.hex()} (cell.commitment). "
            "Check that the dsn names the cell's database, and restore the registry from a backup. A new cell needs a new "
            "configuration: run `strongroom init` where no configuration is"
        )
        raise PinMismatch(msg)
    if not hmac.compare_digest(identity.commitment, commitment):
        msg = (
            f"the cell's keys were replaced: the configuration names the commitment {commitment.hex()} (cell.commitment), and the "
            f"registry has {identity.commitment.hex()}. Nothing is opened or sealed. Check that the dsn names the cell's "
            "database, and restore the registry from a backup. Only if this database is the right one and the configuration is wrong, "
            f"run: {_COMMAND}"
        )
        raise PinMismatch(msg)


def _identity(records: Iterable[DataKeyRecord]) -> DataKeyRecord | None:
    """Return the identity key. A second version does not exist, because this class is never rotated."""
    found = [record for record in records if record.key_class is KeyClass.IDENTITY]
    return found[0] if len(found) == 1 else None


def _keks(records: Iterable[DataKeyRecord]) -> list[KekRef]:
    used = {(each.provider, each.kek_id) for each in records if each.state is not KeyState.DESTROYED}
    return [KekRef(*kek) for kek in sorted(used)]
