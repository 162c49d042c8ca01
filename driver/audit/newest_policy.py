"""The version of the access policy that a record of an audit log names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .events import CHECKPOINT, POLICY

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT = 2**62
"""A number that no version reaches. A false record of a higher one would leave no number for the versions after it."""


def policy_version_of(fields: Mapping[str, Any]) -> int:
    """Return the version of the policy that a record proves to have been in force; 0 if it proves none."""
    event, version = fields.get("event"), fields.get("policy_version")
    is_proof = event == CHECKPOINT or (event == POLICY and fields.get("outcome") == "done")
    return version if is_proof and type(version) is int and 0 < version < LIMIT else 0
