"""Retries within a deadline, a circuit breaker for each KEK, and a record of each KMS call (DESIGN.md, "The KMS")."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, TypeVar

from strongroom.kms.errors import KmsError, KmsTimeout, KmsUnavailable, StrongroomError
from strongroom.kms.key_events import NO_KEY_EVENTS, KeyEvent, failed
from strongroom.kms.loop_deadline import loop_deadline
from strongroom.kms.provider import KekRef

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from strongroom.kms.key_events import KeyEventSink
    from strongroom.kms.provider import Capabilities, GeneratedKey, KekInfo, KmsProvider, Wrapped
    from strongroom.kms.secret import Secret

    T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The limits for retries and for the circuit breaker. Times are in seconds.

    Attributes:
        attempts: The number of attempts for one call, including the first. Only retryable errors are retried.
        first_wait: The upper limit of the first pause, which doubles each time. A pause is uniform between 0 and its
            limit ("full jitter").
        longest_wait: The upper limit of all pauses.
        deadline: The time for one call with all its attempts, without its wait for other calls.
        hang: The same time for a KMS in this process, such as a keyring file. It has no network, so only a hang takes so long.
        at_once: The number of concurrent calls of a KMS over a network. Further calls wait, and their deadline begins afterwards.
        failures: The number of consecutive failures that opens a KEK's circuit breaker. A refusal is not a failure.
        pause: The time after which an open breaker lets one call through.
    """

    attempts: int = 3
    first_wait: float = 0.05
    longest_wait: float = 2.0
    deadline: float = 5.0
    hang: float = 120.0
    at_once: int = 16
    failures: int = 5
    pause: float = 10.0


@dataclass(slots=True)
class _Breaker:
    """The circuit breaker of a KEK.

    Attributes:
        failures: The number of consecutive failures.
        open_until: The time until which no call is sent. None while the breaker is closed.
        probing: Whether one call is being let through now.
    """

    failures: int = 0
    open_until: float | None = None
    probing: bool = False


class ResilientProvider:
    """A KMS provider that wraps another one and adds retries, a deadline, circuit breakers and records.

    Args:
        provider_id: The id of the provider in KEK URIs.
        provider: The wrapped provider. Its client must not retry.
        policy: The limits for retries and circuit breakers.
        key_events: The recorder of KMS calls.
        clock: Returns monotonic seconds.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        provider_id: str,
        provider: KmsProvider,
        *,
        policy: RetryPolicy | None = None,
        key_events: KeyEventSink = NO_KEY_EVENTS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.inner = provider
        self._id = provider_id
        self._policy = policy or RetryPolicy()
        remote = provider.capabilities.remote
        self._deadline = self._policy.deadline if remote else self._policy.hang
        self._slots = asyncio.Semaphore(self._policy.at_once) if remote else nullcontext()
        self._key_events = key_events
        self._clock = clock
        self._sleep = sleep
        self._breakers: dict[KekRef, _Breaker] = {}

    def __repr__(self) -> str:
        return f"ResilientProvider({self.inner!r})"

    def __reduce__(self) -> NoReturn:
        msg = "a provider can't be pickled, because it has credentials"
        raise TypeError(msg)

    @property
    def capabilities(self) -> Capabilities:
        """The abilities of the wrapped provider."""
        return self.inner.capabilities

    def regions(self, kek: KekRef) -> frozenset[str | None]:
        """See `KmsProvider`."""
        return self.inner.regions(kek)

    async def generate_data_key(self, kek: KekRef, *, context: Mapping[str, str]) -> GeneratedKey:
        """See `KmsProvider`."""
        return await self._call("generate_data_key", kek, lambda: self.inner.generate_data_key(kek, context=context))

    async def wrap(self, kek: KekRef, root: Secret, *, context: Mapping[str, str]) -> Wrapped:
        """See `KmsProvider`."""
        return await self._call("wrap", kek, lambda: self.inner.wrap(kek, root, context=context))

    async def unwrap(self, wrapped: Wrapped, *, context: Mapping[str, str]) -> Secret:
        """See `KmsProvider`."""
        return await self._call("unwrap", wrapped.kek, lambda: self.inner.unwrap(wrapped, context=context))

    async def unwrap_many(self, items: Sequence[tuple[Wrapped, Mapping[str, str]]]) -> list[Secret | StrongroomError]:
        """See `KmsProvider`. The KEKs are used concurrently, so that one that hangs does not delay the others."""
        by_kek: dict[KekRef, list[int]] = {}
        for index, (wrapped, _) in enumerate(items):
            by_kek.setdefault(wrapped.kek, []).append(index)
        answers_by_kek = await asyncio.gather(
            *(self._unwrap_with(kek, [items[index] for index in indexes]) for kek, indexes in by_kek.items())
        )
        answers: dict[int, Secret | StrongroomError] = {}
        for indexes, group in zip(by_kek.values(), answers_by_kek, strict=True):
            answers.update(zip(indexes, group, strict=True))
        return [answers[index] for index in range(len(items))]

    async def rewrap(self, wrapped: Wrapped, kek: KekRef, *, context: Mapping[str, str]) -> Wrapped:
        """See `KmsProvider`."""
        return await self._call("rewrap", kek, lambda: self.inner.rewrap(wrapped, kek, context=context))

    async def describe(self, kek: KekRef) -> KekInfo:
        """See `KmsProvider`."""
        return await self._call("describe", kek, lambda: self.inner.describe(kek))

    async def create_kek(self, key_id: str) -> KekRef:
        """See `KmsProvider`."""
        return await self._call("create_kek", KekRef(self._id, key_id), lambda: self.inner.create_kek(key_id))

    async def rotate_kek(self, kek: KekRef) -> str:
        """See `KmsProvider`. A rotation is not retried, because a failed call may have rotated the key."""
        return await self._call("rotate_kek", kek, lambda: self.inner.rotate_kek(kek), attempts=1)

    async def retire_version(self, kek: KekRef, version: str) -> None:
        """See `KmsProvider`."""
        await self._call("retire_version", kek, lambda: self.inner.retire_version(kek, version), attempts=1)

    async def delete_kek(self, kek: KekRef) -> KekInfo:
        """See `KmsProvider`."""
        return await self._call("delete_kek", kek, lambda: self.inner.delete_kek(kek), attempts=1)

    async def check(self) -> str:
        """See `KmsProvider`."""
        return await self._call("check", KekRef(self._id, ""), self.inner.check)

    async def aclose(self) -> None:
        """See `KmsProvider`."""
        await self.inner.aclose()

    async def _unwrap_with(
        self, kek: KekRef, items: Sequence[tuple[Wrapped, Mapping[str, str]]]
    ) -> list[Secret | StrongroomError]:
        """Unwrap roots that one KEK wrapped. Only items with retryable errors are retried."""
        answers: dict[int, Secret | StrongroomError] = {}

        async def ask() -> None:
            left = [index for index in range(len(items)) if index not in answers]
            retryable = None
            for index, answer in zip(left, await self.inner.unwrap_many([items[i] for i in left]), strict=True):
                if isinstance(answer, KmsError) and answer.retryable:
                    retryable = answer
                else:
                    answers[index] = answer
            if retryable is not None:
                raise retryable

        try:
            await self._call("unwrap", kek, ask, items=len(items))
        except StrongroomError as error:
            return [answers.get(index, error) for index in range(len(items))]
        return [answers[index] for index in range(len(items))]

    async def _call(
        self,
        operation: str,
        kek: KekRef,
        ask: Callable[[], Awaitable[T]],
        *,
        attempts: int | None = None,
        items: int = 1,
    ) -> T:
        """Send a call, and retry it while the error is retryable and the deadline allows another attempt.

        The deadline covers attempts and pauses, and not the wait for other calls.
        """
        event = KeyEvent(f"kms.{operation}", provider=self._id, kek_id=kek.key_id, items=items)
        breaker = self._breakers.setdefault(kek, _Breaker())
        left = self._deadline
        attempt = 0
        while True:
            attempt += 1
            began = self._clock()
            try:
                async with self._slots, self._through(breaker, kek):
                    began = self._clock()
                    return await self._attempt(event, ask, left)
            except KmsError as error:
                left -= self._clock() - began
                wait = self._wait(error, attempt)
                last = attempt >= (attempts or self._policy.attempts)
                if not error.retryable or last or breaker.open_until is not None or wait >= left:
                    raise
            await self._sleep(wait)
            left -= wait

    async def _attempt(self, event: KeyEvent, ask: Callable[[], Awaitable[T]], left: float) -> T:
        """Send a call once, and record it."""
        began = self._clock()
        try:
            try:
                async with loop_deadline(left):
                    answer = await ask()
            except TimeoutError:
                msg = f"{event.provider}: no answer within {self._deadline:g} s"
                raise KmsTimeout(msg) from None
        except StrongroomError as error:
            await self._key_events.record(replace(failed(event, error), seconds=self._clock() - began))
            raise
        await self._key_events.record(
            replace(event, outcome="done", at=datetime.now(UTC), seconds=self._clock() - began)
        )
        return answer

    def _wait(self, error: KmsError, attempt: int) -> float:
        longest = min(self._policy.first_wait * 2 ** (attempt - 1), self._policy.longest_wait)
        return max(random.uniform(0, longest), error.retry_after or 0.0)  # noqa: S311 - not a secret

    @asynccontextmanager
    async def _through(self, breaker: _Breaker, kek: KekRef) -> AsyncIterator[None]:
        """Run the block if the breaker lets the call through. Open the breaker after too many failures, and close it after an answer.

        Raises:
            KmsUnavailable: The breaker is open, and no call was sent.
        """
        probe = breaker.open_until is not None
        if breaker.open_until is not None:
            left = breaker.open_until - self._clock()
            if left > 0 or breaker.probing:
                msg = f"{kek} failed {breaker.failures} times in a row; the next call is sent in {max(left, 0.0):.0f} s"
                raise KmsUnavailable(msg)
            breaker.probing = True
        try:
            yield
        except StrongroomError as error:
            if not (isinstance(error, KmsError) and error.retryable):
                breaker.failures, breaker.open_until = 0, None  # a refusal shows that the KMS works
                raise
            breaker.failures += 1
            if breaker.failures >= self._policy.failures:
                breaker.open_until = self._clock() + self._policy.pause
            raise
        else:
            breaker.failures, breaker.open_until = 0, None
        finally:
            if probe:
                breaker.probing = False
