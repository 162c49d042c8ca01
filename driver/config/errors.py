"""The error of a configuration that can't be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Sequence

ADD_AUDIT = 'add [audit] with folder = "audit" to the configuration'
"""Advice for a cell that needs an audit log and has none."""


class ConfigError(StrongroomError):
    """The configuration can't be used.

    Attributes:
        summary: The message without details.
        details: One sentence for each of several faults.

    Args:
        summary: The message.
        details: Sentences that follow it, for several faults.
    """

    def __init__(self, summary: str = "", details: Sequence[str] = ()) -> None:
        super().__init__("\n  ".join([summary, *details]))
        self.summary, self.details = summary or str(self), tuple(details)
