"""Rotate data keys that are old, or have sealed much: what `strongroom keys rotate --due` and a service do from time to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms.errors import KeyConflict, StrongroomError

from .key_lifecycle import rotate_data_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms.keyring.keyring import Keyring

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of namespaces done so far, and of all that are due."""


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """When a data key is due.

    Attributes:
        max_age: since it was made.
        max_rows: that it sealed, in all processes together.
        max_rows_suite_1: the same of AES-256-GCM with random nonces, whose limit is 2^30.
    """

    max_age: timedelta = timedelta(days=90)
    max_rows: int = 2**32
    max_rows_suite_1: int = 2**29


@dataclass(frozen=True, slots=True)
class DueRotations:
    """What a run did: namespaces whose key was rotated, and those where that failed, with the reason."""

    rotated: Sequence[UUID]
    failed: Sequence[tuple[UUID, StrongroomError]]


async def rotate_due_keys(
    keyring: Keyring, policy: RotationPolicy, *, now: datetime | None = None, progress: Progress | None = None
) -> DueRotations:
    """Rotate every data key that is due, the cell's own too. One namespace whose KMS refuses stops no other.

    What somebody else rotates meanwhile is left alone: several processes may run this at once.
    """
    created_before = (now or datetime.now(UTC)) - policy.max_age
    due = await keyring.store.list_due(
        created_before=created_before, rows=policy.max_rows, rows_suite_1=policy.max_rows_suite_1
    )
    rotated: list[UUID] = []
    failed: list[tuple[UUID, StrongroomError]] = []
    for number, namespace_id in enumerate(due, 1):
        try:
            await rotate_data_key(keyring, namespace_id)
            rotated.append(namespace_id)
        except KeyConflict:
            pass
        except StrongroomError as error:
            failed.append((namespace_id, error))
        if progress is not None:
            progress(number, len(due))
    return DueRotations(rotated, failed)
