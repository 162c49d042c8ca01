"""The highest version of the access policy that an audit log names. An older policy in the database was put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backwards import lines_backwards
from .events import CHECKPOINT, POLICY
from .stream import parse, segments, streams

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LIMIT = 2**62
"""A number that no version reaches. A false record of a higher one would leave no number for the versions after it."""
_MARKS = (b'"event":"checkpoint"', b'"event":"policy"')


def policy_version_of(fields: Mapping[str, Any]) -> int:
    """Return the version of the policy that a record proves to have been in force; 0 if it proves none."""
    event, version = fields.get("event"), fields.get("policy_version")
    is_proof = event == CHECKPOINT or (event == POLICY and fields.get("outcome") == "done")
    return version if is_proof and type(version) is int and 0 < version < LIMIT else 0


def newest_policy_version(root: Path) -> int:
    """Return the highest version that the last records of a folder's streams name; 0 if they name none.

    Each stream is read backwards until its last checkpoint, which has the highest version before it.

    Args:
        root: The folder of all streams.
    """
    return max((_newest_of(folder) for _, folder in streams(root)), default=0)


def _newest_of(folder: Path) -> int:
    newest = 0
    for segment in reversed(segments(folder)):
        for line in lines_backwards(segment):
            parsed = parse(line) if any(mark in line for mark in _MARKS) else None
            if parsed is None:
                continue
            newest = max(newest, policy_version_of(parsed[0]))
            if parsed[0].get("event") == CHECKPOINT:
                return newest
    return newest
