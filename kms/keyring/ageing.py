"""Decide what a keyring does with cached keys of a given age. Pure functions: no clock, no cache, no I/O (DESIGN.md, "The cache")."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cache_policy import CachePolicy

_MANY = 100
"""Number of cached namespaces from which on the first refreshes are spread over all of the soft TTL."""


class Load(Enum):
    """State of the task that unwraps a namespace's keys again."""

    NONE = "none"
    RUNNING = "running"
    FAILED = "failed"


class Action(Enum):
    """What a keyring does when a caller asks for cached keys."""

    USE = "use"
    """Return the keys."""
    REFRESH = "refresh"
    """Return the keys, and unwrap them again in the background."""
    LOAD = "load"
    """Unwrap the keys again before they are used. If that fails, decide again with `Load.FAILED`."""
    OPEN_ONLY = "open_only"
    """Return keys that open but don't seal."""
    REFUSE = "refuse"
    """Evict the keys and raise the failure."""


@dataclass(slots=True)
class KeyAge:
    """Times of a namespace's cached keys, in monotonic seconds.

    Attributes:
        unwrapped_at: Time at which their KMS was asked.
        confirmed_at: Time at which the registry last had the same rows.
        fresh_until: Time until which the keys are used without a check.
        incomplete: Whether a version is missing because its KMS refused to unwrap it.
        retry_at: Time before which a failed load is not repeated.
        due_at: Time at which their KMS is asked again. `fresh_until` is earlier while it is unknown whether the registry has changed.
    """

    unwrapped_at: float
    confirmed_at: float
    fresh_until: float
    incomplete: bool = False
    retry_at: float = 0.0
    due_at: float = 0.0

    def doubted(self, at: float) -> None:
        """Check the keys at their next use, if the registry was read for them before a time at which it may have changed."""
        if self.confirmed_at < at:
            self.fresh_until = min(self.fresh_until, at)


def least_jitter(namespaces: int, *, is_first: bool) -> float:
    """Return the least factor for the soft TTL.

    A list of namespaces unwraps all their keys within seconds. If all were due in the last tenth of the soft TTL, ten times as many
    would be refreshed then as on average. After the first refresh they stay apart.

    Args:
        namespaces: Number of namespaces that are cached or being loaded.
        is_first: Whether the keys were not cached before.
    """
    return 0.1 if is_first and namespaces >= _MANY else 0.9


def jitter(namespaces: int, *, is_first: bool) -> float:
    """Return a random factor for the soft TTL, from `least_jitter` to 1.0."""
    return random.uniform(least_jitter(namespaces, is_first=is_first), 1.0)  # noqa: S311 - not a secret


def new_age(policy: CachePolicy, *, asked_at: float, incomplete: bool, jitter: float) -> KeyAge:
    """Return the age of keys that were unwrapped now.

    Args:
        policy: The policy of the cache.
        asked_at: Time at which their KMS was asked.
        incomplete: Whether a version is missing because its KMS refused.
        jitter: Factor for the soft TTL, from `least_jitter` to 1.0.
    """
    fresh = policy.failure_ttl if incomplete else policy.soft_ttl * jitter
    return KeyAge(asked_at, asked_at, asked_at + fresh, incomplete, due_at=asked_at + fresh)


def next_action(
    age: KeyAge, policy: CachePolicy, *, now: float, load: Load = Load.NONE, is_cached: bool = True
) -> Action:
    """Return what to do with cached keys that a caller asks for.

    Args:
        age: The times of the keys.
        policy: The policy of the cache.
        now: The present time.
        load: The state of the task that unwraps them again.
        is_cached: Whether the keys are still in the cache. A load evicts them if the registry has changed.
    """
    if load is Load.FAILED and not is_cached:
        return Action.REFUSE
    if now < age.fresh_until:
        return Action.USE
    may_seal, may_open = _may_seal(age, policy, now), _may_open(age, policy, now)
    if load is not Load.FAILED:
        is_due = now >= age.retry_at
        if may_seal and not age.incomplete:
            return Action.REFRESH if is_due and load is Load.NONE else Action.USE
        if is_due or load is Load.RUNNING:
            return Action.LOAD
    if may_seal:
        return Action.USE
    return Action.OPEN_ONLY if may_open else Action.REFUSE


def _may_seal(age: KeyAge, policy: CachePolicy, now: float) -> bool:
    return now < min(age.unwrapped_at, age.confirmed_at) + policy.encrypt_ttl


def _may_open(age: KeyAge, policy: CachePolicy, now: float) -> bool:
    # Keys that the registry has not confirmed within encrypt_ttl can't open values either. Every process has therefore
    # read a change of the registry when encrypt_ttl has passed.
    return now < min(age.unwrapped_at + policy.decrypt_ttl, age.confirmed_at + policy.encrypt_ttl)
