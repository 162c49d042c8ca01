"""Signed statements of positions, as they are in an audit log and in an object store (docs/how-to/anchors.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from strongroom.kms import is_signed
from strongroom.storage.cell.positions import DIGEST_BYTES, Position, newest_by_name

from .chain import GENESIS
from .checkpoint import microseconds
from .events import ANCHOR

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import SigningKey

    from .events import Fields

PREFIX = b"strongroom-anchor/1\n"
IN_A_LOG = 0
"""The number of a statement in an audit log, where the record has a number of its own."""
COMPLETE_EVERY = 20
"""Number of statements of a process after which one has all positions again, so that a reader can stop there."""
RECORDS = 2000
"""Number of records of a process after which a statement has all positions again, even if none changed. A process that starts reads
back about as many records."""
RECORDS_FOR_EACH = 8
"""Number of records for each position, if their total is above `RECORDS`. So statements take a small part of the log."""
_LARGEST = 2**63 - 1
_MOST_NAME = 200


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of positions.

    Attributes:
        number: The number of its object; `IN_A_LOG` in an audit log.
        previous: The hash of the object before it, 32 bytes; zeros if there is none.
        at: The time, in UTC.
        is_complete: Whether it has every position that its writer knew. Otherwise it has those that changed.
        positions: The positions, in the order of their names.
        signature: The signature of the cell's audit key.
    """

    number: int
    previous: bytes
    at: datetime
    is_complete: bool
    positions: tuple[Position, ...]
    signature: bytes = b""

    def message(self) -> bytes:
        """Return the bytes that are signed."""
        parts = [
            PREFIX,
            self.number.to_bytes(8, "big"),
            self.previous,
            microseconds(self.at).to_bytes(8, "big", signed=True),
            bytes((self.is_complete,)),
            len(self.positions).to_bytes(4, "big"),
        ]
        for each in self.positions:
            name = each.name.encode()
            parts += [len(name).to_bytes(2, "big"), name, each.number.to_bytes(8, "big"), each.digest]
        return b"".join(parts)

    def hash(self) -> bytes:
        """Return the hash that the next object has."""
        return sha256(self.message()).digest()

    def signed(self, key: SigningKey) -> Statement:
        """Return the statement with its signature."""
        return replace(self, signature=key.sign(self.message()))

    def is_signed(self, public_key: bytes) -> bool:
        """Return whether the signature is valid for a public key."""
        return is_signed(self.message(), self.signature, public_key=public_key)

    def fields(self) -> Fields:
        """Return the fields of a record or an object."""
        return {
            "event": ANCHOR,
            "at": self.at,
            "complete": self.is_complete,
            "positions": [[each.name, each.number, each.digest.hex()] for each in self.positions],
            "signature": self.signature.hex(),
        }


def new_statement(
    positions: Sequence[Position], *, at: datetime, number: int = IN_A_LOG, previous: bytes = GENESIS, complete: bool
) -> Statement:
    """Return a statement without a signature.

    Args:
        positions: The positions.
        at: The time, in UTC.
        number: The number of its object.
        previous: The hash of the object before it.
        complete: Whether these are all positions that are known.
    """
    ordered = sorted(positions, key=lambda each: each.name)
    return Statement(number, previous, at, complete, tuple(ordered))


def of_fields(fields: Mapping[str, Any], *, number: int = IN_A_LOG, previous: bytes = GENESIS) -> Statement | None:
    """Return the statement in a record or an object; None if it is not a valid one.

    Args:
        fields: The fields.
        number: The number of its object.
        previous: The hash of the object before it.
    """
    try:
        positions = tuple(
            Position(name, position, bytes.fromhex(digest)) for name, position, digest in fields["positions"]
        )
        made = Statement(
            number,
            previous,
            datetime.fromisoformat(fields["at"]),
            fields["complete"],
            positions,
            bytes.fromhex(fields["signature"]),
        )
        if fields.get("event") != ANCHOR or type(made.is_complete) is not bool or made.at.tzinfo is None:
            return None
        made.message()
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None
    return made if all(_is_valid(each) for each in positions) else None


def _is_valid(position: Position) -> bool:
    return (
        type(position.number) is int
        and 0 < position.number <= _LARGEST
        and len(position.digest) == DIGEST_BYTES
        and 0 < len(position.name.encode()) <= _MOST_NAME
    )


class StatedPositions:
    """Decides which positions a process states next in its audit log: those that changed, and from time to time all of them.

    Attributes:
        known: The newest positions that this process knows, by name. At its start those that were anchored before.
    """

    def __init__(self) -> None:
        self.known: dict[str, Position] = {}
        self._stated: dict[str, Position] = {}
        self._left = self._records = 0

    def next(self, positions: Sequence[Position], *, at: datetime, records: int) -> Statement | None:
        """Return the next statement; None if there is nothing to state.

        Args:
            positions: The present positions.
            at: The time, in UTC.
            records: The number of records since the last checkpoint.
        """
        self._records += records
        present = [each for each in positions if each.number and each.digest]
        self.known = newest_by_name(list(self.known.values()), present)
        is_complete = self._left == 0 or self._records >= max(RECORDS, RECORDS_FOR_EACH * len(self.known))
        changed = [each for name, each in self.known.items() if is_complete or self._stated.get(name) != each]
        return new_statement(changed, at=at, complete=is_complete) if changed else None

    def written(self, statement: Statement) -> None:
        """Record that a statement is on disk."""
        before = {} if statement.is_complete else self._stated
        self._stated = {**before, **{each.name: each for each in statement.positions}}
        self._left = (COMPLETE_EVERY if statement.is_complete else self._left) - 1
        self._records = 0 if statement.is_complete else self._records
