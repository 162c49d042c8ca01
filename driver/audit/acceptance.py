"""Signed acceptances: a person states that differences between a log and the database are known, and why.

A restore from a backup, or a folder that was lost, leaves differences that stay for ever. An acceptance names each of them, so that
`audit verify` succeeds again, and finds every other difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from strongroom.kms import is_signed

from .checkpoint import microseconds
from .events import ACCEPTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.kms import SigningKey

    from .events import Fields

PREFIX = b"strongroom-audit-accepted/1\n"
MOST = 500
"""Number of differences in one record."""
_IDENTITY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference that a verification found.

    Attributes:
        identity: SHA-256 of what was found, so that an acceptance of it covers nothing else.
        text: Its description.
        number: The number of a checkpoint that the database lost; 0 for another difference.
        is_older: Whether it is a part of the database that is older than an anchored state.
    """

    identity: bytes
    text: str
    number: int = 0
    is_older: bool = False


def of_older(text: str) -> Difference:
    """Return the difference for a part of the database that is older than an anchored state.

    Args:
        text: A sentence that names both states.
    """
    return Difference(_identity_of(text), text, is_older=True)


def _identity_of(text: str) -> bytes:
    return sha256(b"older\n" + text.encode()).digest()


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A signed statement about differences.

    Attributes:
        at: The time, in UTC.
        lost_after: The number of the last checkpoint before the lost ones; 0 if there is none, or if none was lost.
        lost_through: The number of the last lost checkpoint; 0 if none was lost.
        identities: The differences.
        reason: Why they are accepted.
        older: The parts of the database that were older than an anchored state. The identities are hashes of these sentences.
        signature: The signature of the cell's audit key.
    """

    at: datetime
    lost_after: int
    lost_through: int
    identities: tuple[bytes, ...]
    reason: str
    older: tuple[str, ...] = ()
    signature: bytes = b""

    @property
    def digest(self) -> bytes:
        """The hash over all differences."""
        return sha256(b"".join(self.identities)).digest()

    def message(self) -> bytes:
        """Return the bytes that are signed."""
        numbers = (
            microseconds(self.at).to_bytes(8, "big", signed=True),
            self.lost_after.to_bytes(8, "big"),
            self.lost_through.to_bytes(8, "big"),
        )
        return b"".join((PREFIX, *numbers, self.digest, self.reason.encode()))

    def is_signed(self, public_key: bytes) -> bool:
        """Return whether the signature is valid for a public key."""
        return is_signed(self.message(), self.signature, public_key=public_key)

    def fields(self, public_key: bytes) -> Fields:
        """Return the fields of its record."""
        return {
            "lost_after": self.lost_after,
            "lost_through": self.lost_through,
            "differences": [each.hex() for each in self.identities],
            "digest": self.digest.hex(),
            "reason": self.reason,
            "older": list(self.older),
            "public_key": public_key.hex(),
            "signature": self.signature.hex(),
        }


def new_acceptances(
    differences: Sequence[Difference], *, reason: str, at: datetime, key: SigningKey
) -> list[Acceptance]:
    """Return signed statements about differences, of at most `MOST` each.

    Args:
        differences: The differences.
        reason: Why they are accepted.
        at: The time, in UTC.
        key: The cell's audit key.
    """
    made = []
    for start in range(0, len(differences), MOST):
        part = differences[start : start + MOST]
        lost = [each.number for each in part if each.number]
        after, through = (min(lost) - 1, max(lost)) if lost else (0, 0)
        older = tuple(each.text for each in part if each.is_older)
        unsigned = Acceptance(at, after, through, tuple(each.identity for each in part), reason, older)
        made.append(replace(unsigned, signature=key.sign(unsigned.message())))
    return made


def of_record(fields: Mapping[str, Any]) -> Acceptance | None:
    """Return the statement in a record; None if the record is not a valid one."""
    if fields.get("event") != ACCEPTED:
        return None
    try:
        identities = tuple(bytes.fromhex(each) for each in fields["differences"])
        made = Acceptance(
            datetime.fromisoformat(fields["at"]),
            fields["lost_after"],
            fields["lost_through"],
            identities,
            fields["reason"],
            tuple(fields["older"]),
            bytes.fromhex(fields["signature"]),
        )
        made.message()
        if any(_identity_of(text) not in identities for text in made.older):
            return None
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        return None
    return made if all(len(each) == _IDENTITY_BYTES for each in identities) else None
