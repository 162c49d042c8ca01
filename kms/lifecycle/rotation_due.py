"""Rotate data keys that are old or have sealed many rows. `strongroom keys rotate --due` calls this, and a service can call it too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from strongroom.kms.commits import commits_several_times
from strongroom.kms.errors import KeyConflict, StrongroomError

from .key_lifecycle import rotate_data_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from strongroom.kms.keyring.keyring import Keyring

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of processed namespaces and the number of all due namespaces."""


@dataclass(frozen=True, slots=True)
class RotationPolicy:
    """The limits after which a data key is due for rotation.

    Attributes:
        max_age: The time since its creation, by the clock of the registry's store.
        max_rows: The number of rows that it sealed in all processes.
        max_rows_suite_1: The same for a key of suite 1 (AES-256-GCM with random nonces), whose hard limit is 2^30.
    """

    max_age: timedelta = timedelta(days=90)
    max_rows: int = 2**32
    max_rows_suite_1: int = 2**29


@dataclass(frozen=True, slots=True)
class DueRotations:
    """The result of a run: the namespaces whose key was rotated, and those where the rotation failed."""

    rotated: Sequence[UUID]
    failed: Sequence[tuple[UUID, StrongroomError]]


@commits_several_times
async def rotate_due_keys(
    keyring: Keyring, policy: RotationPolicy, *, progress: Progress | None = None
) -> DueRotations:
    """Rotate every data key that is due, including the cell's own. A failure in one namespace does not stop the others.

    Several processes may run this at once: a key that another process has already rotated is skipped.

    Args:
        keyring: The cell's keyring.
        policy: The limits.
        progress: Called after each namespace.
    """
    due = await keyring.store.list_due(
        max_age=policy.max_age, rows=policy.max_rows, rows_suite_1=policy.max_rows_suite_1
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
