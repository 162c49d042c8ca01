"""The table of group commit: every state with every outcome, as data and as the class acts on it."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from strongroom.kms import SealingLimitExceeded
from strongroom.storage.engine.group_commit import GroupCommit
from strongroom.storage.engine.group_commit_members import GroupCommitLimits
from strongroom.storage.engine.group_commit_states import RETRIES, STEPS, Outcome, State, Step, outcome_of
from strongroom.storage.errors import (
    ConditionFailed,
    DatabaseUnavailable,
    ResourceExhausted,
    ShardOwnershipLost,
    StorageError,
)

IN_FLIGHT = [state for state in State if state is not State.WAITING]


def raced():
    """An error that a repetition may not meet again."""
    error = ConditionFailed("raced")
    error.raced = True
    return error


def lost():
    """An error after which nobody knows whether the statement was committed."""
    return DatabaseUnavailable("lost", may_have_been_committed=True)


ERRORS = {
    Outcome.RACED: raced,
    Outcome.FAILED: lambda: StorageError("refused"),
    Outcome.OPEN: lost,
    Outcome.OPEN_IDEMPOTENT: lost,
}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (SealingLimitExceeded(), Outcome.FAILED),
        (ValueError(), Outcome.FAILED),
        (StorageError("refused"), Outcome.FAILED),
        (raced(), Outcome.RACED),
        (lost(), Outcome.OPEN),
    ],
)
def test_the_outcome_of_an_error(error, outcome):
    """An unknown outcome is safe to repeat for an idempotent statement only; every other outcome is the same for both."""
    assert outcome_of(error, idempotent=False) is outcome
    expected = Outcome.OPEN_IDEMPOTENT if outcome is Outcome.OPEN else outcome
    assert outcome_of(error, idempotent=True) is expected


def test_the_table_is_complete():
    """Each state in which a statement can end has a step for each outcome, and each retry leads to a state."""
    assert set(STEPS) == set(Outcome)
    for steps in STEPS.values():
        assert set(steps) == set(IN_FLIGHT)
    assert {step for steps in STEPS.values() for step in steps.values()} == set(Step)
    assert set(RETRIES) == {Step.RETRY_ALONE, Step.RETRY_WHOLE}


@pytest.mark.parametrize(("state", "outcome"), list(itertools.product(IN_FLIGHT, Outcome)))
def test_a_row_of_the_table(state, outcome):
    """The rules that every row follows."""
    step = STEPS[outcome][state]
    retried = state in (State.RETRIED_ALONE, State.RETRIED_WHOLE)
    if state is State.ANSWERED:
        assert step is Step.DROP, "a caller that is gone gets nothing, and its request is not repeated"
    elif outcome is Outcome.DONE:
        assert step is Step.ANSWER
    elif outcome is Outcome.REFUSED:
        assert step is Step.RAISE
    elif state is State.RETRIED_WHOLE:
        assert step is Step.RAISE_OPEN, "the first attempt may have been committed, whatever happened to the second"
    elif retried or outcome in (Outcome.NEVER_SENT, Outcome.OPEN):
        assert step is Step.RAISE, "no request is sent a third time, nor after an unknown outcome"
    elif outcome is Outcome.OPEN_IDEMPOTENT:
        assert step is Step.RETRY_WHOLE
    elif state is State.SINGLE and outcome is Outcome.FAILED:
        assert step is Step.RAISE, "the same statement would fail again"
    else:
        assert step is Step.RETRY_ALONE


class FakeDatabase:
    """Lends `size` connections that nothing is sent on. `down` makes `acquire` fail."""

    watch = None

    def __init__(self, size=1):
        self.size = size
        self.down = False
        self.broken = []

    async def acquire(self):
        """Lend a connection."""
        if self.down:
            raise DatabaseUnavailable("no connection")
        return object()

    async def lost_session(self, _connection, _error):
        """Return that no session was lost."""

    def release(self, _, *, broken):
        """Take a connection back."""
        self.broken.append(broken)


class Script:
    """Runs statements as a script says: an exception is raised, and any other entry is the answer of each request."""

    def __init__(self, *outcomes):
        self.outcomes = list(outcomes)
        self.statements = []
        self.first_may_end = asyncio.Event()

    async def run(self, _, requests):
        """Run one statement."""
        if requests == ["first"]:  # holds the only connection, so that the others wait and share a statement
            await self.first_may_end.wait()
            return ["first"]
        self.statements.append(list(requests))
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return [outcome.get(request, request) for request in requests]


async def share(script, *, requests="abc", idempotent=False, database=None, **arguments):
    """Send requests that share a statement; return what each caller got."""
    group: GroupCommit[str, str] = GroupCommit(
        database or FakeDatabase(), script.run, name="test", idempotent=idempotent, **arguments
    )
    first = asyncio.ensure_future(group.submit("first"))
    await asyncio.sleep(0)
    callers = [asyncio.ensure_future(group.submit(request)) for request in requests]
    await asyncio.sleep(0)
    script.first_may_end.set()
    await first
    answers = await asyncio.gather(*callers, return_exceptions=True)
    await group.aclose()
    return answers


async def test_requests_that_wait_share_a_statement():
    """Each caller gets its own answer, and a refusal reaches its own caller only."""
    refusal = ShardOwnershipLost(1)
    script = Script({"b": refusal})
    assert await share(script) == ["a", refusal, "c"]
    assert script.statements == [["a", "b", "c"]]


@pytest.mark.parametrize("outcome", [Outcome.RACED, Outcome.FAILED])
async def test_a_rolled_back_statement_is_repeated_one_by_one(outcome):
    """In the order of the calls; a request that fails again is an error for its own caller only."""
    again = StorageError("again")
    script = Script(ERRORS[outcome](), {}, again, {})
    assert await share(script) == ["a", again, "c"]
    assert script.statements == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert not again.may_have_been_committed


async def test_a_single_request_that_raced_is_repeated_once():
    """And its second failure is its answer."""
    second = raced()
    script = Script(raced(), second)
    assert await share(script, requests="a") == [second]
    assert script.statements == [["a"], ["a"]]


async def test_a_single_request_that_failed_is_not_repeated():
    """The same statement would fail again."""
    error = StorageError("refused")
    script = Script(error)
    assert await share(script, requests="a") == [error]
    assert script.statements == [["a"]]


async def test_an_unknown_outcome_is_not_repeated():
    """Every caller gets an error of its own that says so, and the connection is closed."""
    database = FakeDatabase()
    script = Script(lost())
    errors = await share(script, database=database)
    assert [(type(error), error.may_have_been_committed) for error in errors] == [(DatabaseUnavailable, True)] * 3
    assert len(set(map(id, errors))) == 3
    assert script.statements == [["a", "b", "c"]]
    assert database.broken == [False, True]


async def test_an_unknown_outcome_of_an_idempotent_statement_is_repeated():
    """As one statement again; its answers are the callers' answers."""
    script = Script(lost(), {})
    assert await share(script, idempotent=True) == ["a", "b", "c"]
    assert script.statements == [["a", "b", "c"]] * 2


async def test_a_repetition_that_fails_says_that_the_first_may_have_been_committed():
    """Though the repetition itself was surely rolled back."""
    script = Script(lost(), StorageError("refused"))
    errors = await share(script, idempotent=True)
    assert [(type(error), error.may_have_been_committed) for error in errors] == [(StorageError, True)] * 3


async def test_no_connection_is_an_answer():
    """Nothing was sent, so nothing is repeated."""
    database = FakeDatabase()
    database.down = True
    group: GroupCommit[str, str] = GroupCommit(database, Script().run, name="test")
    with pytest.raises(DatabaseUnavailable, match="no connection") as caught:
        await group.submit("a")
    assert not caught.value.may_have_been_committed


async def test_a_request_that_waits_too_long_is_refused():
    """By the clock that was given; requests in flight are not affected."""
    now = 100.0
    script = Script()
    limits = GroupCommitLimits(max_wait=10, sweep_interval=0.001)
    group: GroupCommit[str, str] = GroupCommit(
        FakeDatabase(), script.run, name="test", limits=limits, clock=lambda: now
    )
    first = asyncio.ensure_future(group.submit("first"))
    await asyncio.sleep(0)
    caller = asyncio.ensure_future(group.submit("a"))
    await asyncio.sleep(0.02)
    assert not caller.done()
    now += 10.5
    with pytest.raises(DatabaseUnavailable, match="waited 10 s"):
        await caller
    script.first_may_end.set()
    assert await first == "first"
    await group.aclose()
    assert script.statements == []


async def test_too_many_waiting_requests_are_refused():
    """At once, and nothing is sent for them."""
    script = Script({})
    answers = await share(script, limits=GroupCommitLimits(waiting=2))
    assert answers[:2] == ["a", "b"]
    assert type(answers[2]) is ResourceExhausted
