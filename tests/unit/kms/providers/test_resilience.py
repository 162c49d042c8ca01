from __future__ import annotations

import asyncio
import pickle

import pytest

from strongroom.kms import (
    AccessDenied,
    Capabilities,
    IntegrityError,
    KekRef,
    KeyDisabled,
    KeyEvent,
    KmsTimeout,
    KmsUnavailable,
    ResilientProvider,
    RetryPolicy,
    Secret,
    Throttled,
    Wrapped,
)

POLICY = RetryPolicy()
KEK = KekRef("kms", "a")
OTHER = KekRef("kms", "b")
ROOT = Secret(bytes(range(32)))
CONTEXT = {"strongroom:version": "1"}


class ScriptedKms:
    """A KMS that returns the scripted answers of a KEK in order, and a root when none is left."""

    capabilities = Capabilities("native", "client", 200, "immediate")

    def __init__(self):
        self.script = {KEK: [], OTHER: []}
        self.asked = []

    def answer(self, kek):
        """Return or raise the next answer."""
        self.asked.append(kek)
        answer = self.script[kek].pop(0) if self.script[kek] else ROOT
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def unwrap(self, wrapped, *, context):
        """Return or raise the next answer."""
        assert context == CONTEXT
        return self.answer(wrapped.kek)

    async def rotate_kek(self, kek):
        """Return or raise the next answer."""
        return self.answer(kek)

    async def unwrap_many(self, items):
        """Return one answer for all items of a KEK, or one for each item if the answer is a list."""
        (kek,) = {wrapped.kek for wrapped, _ in items}
        answer = self.answer(kek)
        return answer if isinstance(answer, list) else [answer] * len(items)


class Log:
    """A sink of key events in memory."""

    def __init__(self):
        self.events = []
        self.error = None

    async def record(self, event):
        """Append the event, or raise."""
        if self.error is not None:
            raise self.error
        self.events.append(event)


class Bench:
    """A scripted KMS behind the wrapper, with a clock that only waits advance."""

    def __init__(self):
        self.kms = ScriptedKms()
        self.log = Log()
        self.now = 1000.0
        self.waits = []
        self.provider = ResilientProvider(
            "kms", self.kms, key_events=self.log, clock=lambda: self.now, sleep=self.sleep, policy=POLICY
        )

    async def sleep(self, seconds):
        """Advance the clock."""
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def unwrap(self, kek=KEK):
        """Unwrap one key."""
        return await self.provider.unwrap(Wrapped(kek, "1", b"x"), context=CONTEXT)


@pytest.fixture
def breaker_bench():
    return Bench()


def items(*keks):
    return [(Wrapped(kek, "1", b"x"), CONTEXT) for kek in keks]


# --- retries


@pytest.mark.parametrize("error", [KmsUnavailable, Throttled, KmsTimeout])
async def test_what_may_succeed_later_is_tried_again(breaker_bench, error):
    """A call is retried after the first two retryable failures. The third is raised."""
    breaker_bench.kms.script[KEK] = [error(), error()]
    assert await breaker_bench.unwrap() is ROOT
    assert len(breaker_bench.kms.asked) == POLICY.attempts
    breaker_bench.kms.script[KEK] = [error()] * POLICY.attempts
    with pytest.raises(error):
        await breaker_bench.unwrap()
    assert len(breaker_bench.kms.asked) == 2 * POLICY.attempts


@pytest.mark.parametrize("error", [AccessDenied, KeyDisabled, IntegrityError])
async def test_a_refusal_is_believed(breaker_bench, error):
    """A refusal is not retried."""
    breaker_bench.kms.script[KEK] = [error()]
    with pytest.raises(error):
        await breaker_bench.unwrap()
    assert (len(breaker_bench.kms.asked), breaker_bench.waits) == (1, [])


async def test_waits_have_full_jitter(breaker_bench):
    """Waits are spread from 0 to 50 ms, then from 0 to 100 ms, so that clients do not retry together."""
    for _ in range(300):
        breaker_bench.kms.script[KEK] = [KmsUnavailable(), KmsUnavailable()]
        await breaker_bench.unwrap()
    first, second = breaker_bench.waits[::2], breaker_bench.waits[1::2]
    assert max(first) <= 0.05 < max(second) <= 0.1
    assert min(first) < 0.01 > min(second) / 2
    assert len(set(breaker_bench.waits)) > 500


async def test_retry_after_is_honoured(breaker_bench):
    """A KMS is not called before its retry time. If that is past the deadline, the caller gets it at once."""
    breaker_bench.kms.script[KEK] = [Throttled(retry_after=1.5)]
    assert await breaker_bench.unwrap() is ROOT
    assert 1.5 <= breaker_bench.waits[0] < 1.6
    breaker_bench.kms.script[KEK] = [Throttled(retry_after=60.0)]
    with pytest.raises(Throttled):
        await breaker_bench.unwrap()
    assert len(breaker_bench.waits) == 1


async def test_changes_are_not_tried_again(breaker_bench):
    """A rotation is not retried, because an unanswered rotation may have succeeded."""
    breaker_bench.kms.script[KEK] = [KmsTimeout()]
    with pytest.raises(KmsTimeout):
        await breaker_bench.provider.rotate_kek(KEK)
    assert len(breaker_bench.kms.asked) == 1


async def test_a_silent_kms_ends_at_the_deadline(breaker_bench):
    """On a real clock, a KMS that never answers raises KmsTimeout at the deadline."""

    async def hang(*_args, **_kwargs):
        await asyncio.Event().wait()

    breaker_bench.kms.unwrap = hang
    provider = ResilientProvider("kms", breaker_bench.kms, policy=RetryPolicy(deadline=0.05))
    async with asyncio.timeout(60):
        with pytest.raises(KmsTimeout, match=r"0\.05"):
            await provider.unwrap(Wrapped(KEK, "1", b"x"), context=CONTEXT)


# --- the circuit breaker


async def test_breaker_opens_after_five_failures_in_a_row(breaker_bench):
    """After five failures in a row, a KEK is not called for ten seconds. Then one caller probes it."""
    breaker_bench.kms.script[KEK] = [KmsUnavailable()] * 5
    for _ in range(2):
        with pytest.raises(KmsUnavailable):
            await breaker_bench.unwrap()
    assert len(breaker_bench.kms.asked) == 5
    for _ in range(50):
        with pytest.raises(KmsUnavailable, match="5 times in a row"):
            await breaker_bench.unwrap()
    assert len(breaker_bench.kms.asked) == 5
    breaker_bench.now += POLICY.pause
    assert await breaker_bench.unwrap() is ROOT
    assert await breaker_bench.unwrap() is ROOT
    assert len(breaker_bench.kms.asked) == 7


async def test_failed_probe_opens_the_breaker_again(breaker_bench):
    """During an outage, the KMS gets one probe in ten seconds, whatever the load."""
    breaker_bench.kms.script[KEK] = [KmsUnavailable()] * 100
    for _ in range(1000):
        with pytest.raises(KmsUnavailable):
            await breaker_bench.unwrap()
        breaker_bench.now += 0.1
    assert 5 + 8 <= len(breaker_bench.kms.asked) <= 5 + 10


async def test_one_probe_at_a_time(breaker_bench):
    """After the pause, one caller probes the KEK. The others fail at once."""
    breaker_bench.kms.script[KEK] = [KmsUnavailable()] * 6
    for _ in range(2):
        with pytest.raises(KmsUnavailable):
            await breaker_bench.unwrap()
    breaker_bench.now += POLICY.pause
    gate = asyncio.Event()
    answer = breaker_bench.kms.unwrap

    async def slowly(*args, **kwargs):
        await gate.wait()
        return await answer(*args, **kwargs)

    breaker_bench.kms.script[KEK] = []
    breaker_bench.kms.unwrap = slowly
    probe = asyncio.create_task(breaker_bench.unwrap())
    await asyncio.sleep(0)
    asked = len(breaker_bench.kms.asked)
    outcomes = await asyncio.gather(*(breaker_bench.unwrap() for _ in range(20)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {KmsUnavailable}
    gate.set()
    assert await probe is ROOT
    assert len(breaker_bench.kms.asked) == asked + 1


async def test_each_kek_has_its_own_breaker(breaker_bench):
    """A KEK that fails does not affect other KEKs."""
    breaker_bench.kms.script[KEK] = [KmsUnavailable()] * 5
    for _ in range(2):
        with pytest.raises(KmsUnavailable):
            await breaker_bench.unwrap()
    assert await breaker_bench.unwrap(OTHER) is ROOT


@pytest.mark.parametrize("error", [AccessDenied, KeyDisabled, IntegrityError])
async def test_refusals_do_not_open_the_breaker(breaker_bench, error):
    """A refusal counts as an answer: it resets the count of failures."""
    breaker_bench.kms.script[KEK] = [error()] * 20
    for _ in range(20):
        with pytest.raises(error):
            await breaker_bench.unwrap()
    assert await breaker_bench.unwrap() is ROOT
    breaker_bench.kms.script[KEK] = [KmsUnavailable()] * 4 + [error()] + [KmsUnavailable()] * 2
    for expected in (KmsUnavailable, error):
        with pytest.raises(expected):
            await breaker_bench.unwrap()
    assert await breaker_bench.unwrap() is ROOT


async def test_cancelled_probe_lets_the_next_one_ask(breaker_bench):
    """A cancelled probe lets the next caller probe the KEK."""
    breaker_bench.kms.script[KEK] = [KmsUnavailable()] * 5
    for _ in range(2):
        with pytest.raises(KmsUnavailable):
            await breaker_bench.unwrap()
    breaker_bench.now += POLICY.pause
    answer = breaker_bench.kms.unwrap

    async def hang(*_args, **_kwargs):
        await asyncio.Event().wait()

    breaker_bench.kms.unwrap = hang
    probe = asyncio.create_task(breaker_bench.unwrap())
    await asyncio.sleep(0)
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    breaker_bench.kms.unwrap = answer
    assert await breaker_bench.unwrap() is ROOT


# --- batches


async def test_batch_asks_again_for_what_failed_only(breaker_bench):
    """Only the items of a batch with retryable failures are requested again."""
    breaker_bench.kms.script[KEK] = [[ROOT, Throttled(), IntegrityError(), Throttled()], [ROOT, Throttled()], [ROOT]]
    answers = await breaker_bench.provider.unwrap_many(items(KEK, KEK, KEK, KEK))
    assert [type(answer) for answer in answers] == [Secret, Secret, IntegrityError, Secret]
    assert len(breaker_bench.kms.asked) == 3


async def test_batch_tells_what_failed_to_the_end(breaker_bench):
    """Items that fail finally have their error in the result, and the other items keep their roots."""
    breaker_bench.kms.script[KEK] = [[ROOT, Throttled()], [KmsUnavailable()], [KmsUnavailable()]]
    answers = await breaker_bench.provider.unwrap_many(items(KEK, KEK))
    assert [type(answer) for answer in answers] == [Secret, KmsUnavailable]


async def test_batch_of_several_keks_keeps_order_and_isolation(breaker_bench):
    """A KEK whose KMS fails fails only its own items, and results stay in order."""
    breaker_bench.kms.script[KEK] = [KmsUnavailable()] * 3
    answers = await breaker_bench.provider.unwrap_many(items(KEK, OTHER, KEK, OTHER))
    assert [type(answer) for answer in answers] == [KmsUnavailable, Secret, KmsUnavailable, Secret]
    assert await breaker_bench.provider.unwrap_many([]) == []


# --- key events


async def test_each_call_is_told(breaker_bench):
    """Each call of the KMS is recorded with KEK, outcome, kind of error and request id, but without the error's text."""
    breaker_bench.kms.script[KEK] = [Throttled("slow down, secret", request_id="r-1", provider_code="429"), ROOT]
    await breaker_bench.unwrap()
    first, second = breaker_bench.log.events
    assert (first.operation, first.outcome, first.error) == ("kms.unwrap", "failed", "Throttled")
    assert (first.request_id, first.note, first.provider, first.kek_id) == ("r-1", "429", "kms", "a")
    assert (second.outcome, second.error) == ("done", None)
    assert all(isinstance(event, KeyEvent) and event.at is not None for event in breaker_bench.log.events)
    assert "secret" not in repr(breaker_bench.log.events)


async def test_no_record_no_key(breaker_bench):
    """If a call can't be recorded, its result is not returned."""
    breaker_bench.log.error = OSError("disk full")
    with pytest.raises(OSError, match="disk full"):
        await breaker_bench.unwrap()


async def test_wrapper_is_not_pickled(breaker_bench):
    """A wrapped provider can't be pickled."""
    with pytest.raises(TypeError):
        pickle.dumps(breaker_bench.provider)
