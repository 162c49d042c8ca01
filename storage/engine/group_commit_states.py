"""What happens to a request of a group commit when its statement ends: a table of states and outcomes."""

from __future__ import annotations

from enum import Enum, auto
from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(Enum):
    """The state of a request."""

    WAITING = auto()
    """In the queue, and never sent."""
    SHARED = auto()
    """In flight for the first time, in a statement with other requests."""
    SINGLE = auto()
    """In flight for the first time, as the only request of its statement."""
    RETRIED_ALONE = auto()
    """In the queue or in flight again, in a statement of its own. The first statement was rolled back."""
    RETRIED_WHOLE = auto()
    """In the queue or in flight again, with other requests. The first statement may have been committed, and is idempotent."""
    ANSWERED = auto()
    """The caller has its answer, or is gone."""


class Outcome(Enum):
    """The outcome of a statement for one of its requests."""

    DONE = auto()
    """Committed; the request has an answer."""
    REFUSED = auto()
    """Committed without this request: a condition of it failed."""
    NEVER_SENT = auto()
    """No connection was available."""
    RACED = auto()
    """Rolled back because of another transaction. The same statement may succeed now."""
    FAILED = auto()
    """Rolled back, or not sent because of one of its requests."""
    OPEN = auto()
    """Unknown: the statement may have been committed. Running it twice is not safe."""
    OPEN_IDEMPOTENT = auto()
    """Unknown: the statement may have been committed. Running it twice is safe."""


class Step(Enum):
    """What happens to a request when its statement ends."""

    ANSWER = auto()
    """The caller gets the answer."""
    RAISE = auto()
    """The caller gets the error."""
    RAISE_OPEN = auto()
    """The caller gets the error, marked `may_have_been_committed` because of the first attempt."""
    RETRY_ALONE = auto()
    """The request is sent again in a statement of its own, so that the error of one request reaches its own caller only."""
    RETRY_WHOLE = auto()
    """The request is sent again, with other requests."""
    DROP = auto()
    """Nothing: the caller is gone."""


_COLUMNS = (
    Outcome.DONE,
    Outcome.REFUSED,
    Outcome.NEVER_SENT,
    Outcome.RACED,
    Outcome.FAILED,
    Outcome.OPEN,
    Outcome.OPEN_IDEMPOTENT,
)
_ANSWER, _RAISE, _ALONE, _WHOLE, _DROP = Step.ANSWER, Step.RAISE, Step.RETRY_ALONE, Step.RETRY_WHOLE, Step.DROP
_MARKED = Step.RAISE_OPEN
_ROWS: Mapping[State, tuple[Step, ...]] = {
    # state               DONE     REFUSED  NEVER_SENT  RACED    FAILED   OPEN     OPEN_IDEMPOTENT
    State.SHARED:        (_ANSWER, _RAISE,  _RAISE,     _ALONE,  _ALONE,  _RAISE,  _WHOLE),
    State.SINGLE:        (_ANSWER, _RAISE,  _RAISE,     _ALONE,  _RAISE,  _RAISE,  _WHOLE),
    State.RETRIED_ALONE: (_ANSWER, _RAISE,  _RAISE,     _RAISE,  _RAISE,  _RAISE,  _RAISE),
    State.RETRIED_WHOLE: (_ANSWER, _RAISE,  _MARKED,    _MARKED, _MARKED, _MARKED, _MARKED),
    State.ANSWERED:      (_DROP,   _DROP,   _DROP,      _DROP,   _DROP,   _DROP,   _DROP),
}  # fmt: skip

STEPS: Mapping[Outcome, Mapping[State, Step]] = MappingProxyType(
    {
        outcome: MappingProxyType({state: steps[column] for state, steps in _ROWS.items()})
        for column, outcome in enumerate(_COLUMNS)
    }
)
"""The step for each outcome and state."""

RETRIES: Mapping[Step, State] = MappingProxyType(
    {Step.RETRY_ALONE: State.RETRIED_ALONE, Step.RETRY_WHOLE: State.RETRIED_WHOLE}
)
"""The new state of a request that is sent again, for each step."""


def outcome_of(error: Exception, *, idempotent: bool) -> Outcome:
    """Return the outcome of a statement that failed as a whole.

    Args:
        error: The error that it raised.
        idempotent: Whether running the statement twice has the same effect as running it once.
    """
    if not isinstance(error, StorageError):
        return Outcome.FAILED
    if error.may_have_been_committed:
        return Outcome.OPEN_IDEMPOTENT if idempotent else Outcome.OPEN
    return Outcome.RACED if error.raced else Outcome.FAILED
