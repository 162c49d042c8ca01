"""Verify the rows of checkpoints in the database: their signatures, their chain, and that none is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import is_signed

from .acceptance import Difference
from .chain import GENESIS
from .checkpoint import compaction_message, kept_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.storage.cell import AuditCompaction

    from .checkpoint import SignedCheckpoint

_MISSING = "that records name are missing, {}: rows were deleted, or an older state of the database was restored"
_OTHER = "differ from those that records name, {}: rows were replaced, or an older state of the database was restored and continued"


def check_rows(
    statement: AuditCompaction | None, rows: Sequence[SignedCheckpoint], public_key: bytes
) -> tuple[list[SignedCheckpoint], list[str]]:
    """Verify the rows of a cell.

    Args:
        statement: The statement about deleted rows; None if there is none.
        rows: The rows, in the order of their numbers.
        public_key: The public key of the cell's audit log.

    Returns:
        The rows with a valid signature, and the problems.
    """
    problems: list[str] = []
    signed: list[SignedCheckpoint] = []
    unsigned: list[int] = []
    for each in rows:
        if each.is_signed(public_key):
            signed.append(each)
        else:
            unsigned.append(each.number)
    if unsigned:
        problems.append(f"the signature of checkpoint {unsigned[0]} is not valid ({len(unsigned)} in all)")
    number, last = 0, GENESIS
    if statement is not None:
        number, last = statement.number, statement.hash
        if not is_signed(compaction_message(statement), statement.signature, public_key=public_key):
            problems.append(f"the statement about checkpoints up to {number} is not signed by the audit key")
        kept = [each.hash() for each in rows if each.number <= number]
        if kept_hash(kept) != statement.kept:
            problems.append(f"one of the checkpoints up to {number} was changed, removed or put back")
    problems += _check_chain([each for each in rows if each.number > number], number, last)
    problems += _check_order(rows)
    return signed, problems


def _check_chain(rows: Sequence[SignedCheckpoint], number: int, last: bytes) -> list[str]:
    """Return the first missing row, and the first that does not follow the row before it."""
    for row in rows:
        if row.number != number + 1:
            missing = (
                f"checkpoint {number + 1} is"
                if row.number == number + 2
                else f"checkpoints {number + 1} to {row.number - 1} are"
            )
            return [f"{missing} missing"]
        if row.previous != last:
            return [f"checkpoint {row.number} does not follow checkpoint {number}: one of them was replaced"]
        number, last = row.number, row.hash()
    return []


def _check_order(rows: Sequence[SignedCheckpoint]) -> list[str]:
    reached: dict[UUID, int] = {}
    for row in rows:
        before = reached.get(row.covered.stream_id, 0)
        if row.covered.sequence < before:
            return [
                f"checkpoint {row.number} covers {row.covered.sequence} records of a stream that had {before} before"
            ]
        reached[row.covered.stream_id] = row.covered.sequence
    return []


def lost_checkpoints(
    confirmed: Sequence[SignedCheckpoint], statement: AuditCompaction | None, rows: Sequence[SignedCheckpoint]
) -> list[Difference]:
    """Return the checkpoints that records name and the database does not have, or has others in their place.

    A checkpoint is in the database before its record is written, so a row that is missing was removed, or an older state of the
    database was restored.

    Args:
        confirmed: The signed checkpoints in the records.
        statement: The statement about deleted rows, read after the records; None if there is none.
        rows: The rows, read after the records.
    """
    by_number = {row.number: row for row in rows}
    newest = {row.covered.stream_id: row.covered.sequence for row in rows}
    lost = []
    for each in confirmed:
        row = by_number.get(each.number)
        if row is not None:
            if row.hash() != each.hash():
                lost.append(Difference(each.hash(), _OTHER, each.number))
        elif (
            statement is None
            or each.number > statement.number
            or (newest.get(each.covered.stream_id, 0) < each.covered.sequence and each.at >= statement.forgotten_before)
        ):
            lost.append(Difference(each.hash(), _MISSING, each.number))
    return lost


def describe(lost: Sequence[Difference]) -> list[str]:
    """Return the descriptions of lost checkpoints, with their numbers."""
    described = []
    for text in (_MISSING, _OTHER):
        numbers = [each.number for each in lost if each.text == text]
        if numbers:
            described.append(f"{len(numbers)} checkpoints {text.format(_range(numbers))}")
    return described


def _range(numbers: Sequence[int]) -> str:
    return f"number {numbers[0]}" if len(numbers) == 1 else f"numbers {min(numbers)} to {max(numbers)}"
