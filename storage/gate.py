"""What must have happened before a statement that writes is sent for a call: a record of it is on disk, say.

Who calls a store sets `GATE`. Writes that share statements wait for the gates of all in one statement, once; so a call need not wait
by itself, and what is written for the gate goes on beside what the call waits for anyhow. Stores that share no statements know of no
gate: for those the caller waits before.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol


class Gate(Protocol):
    """Something that happens once, or fails."""

    @property
    def passed(self) -> bool:
        """Whether it has happened."""

    async def wait(self) -> None:
        """Return once it has happened; raise if it can't."""


GATE: ContextVar[Gate | None] = ContextVar("strongroom_gate", default=None)


async def pass_gate() -> None:
    """Wait for the gate of this call, if it has one."""
    gate = GATE.get()
    if gate is not None and not gate.passed:
        await gate.wait()
