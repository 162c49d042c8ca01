"""Failures of loads, remembered for a short time, so that callers don't ask a KMS that is away again and again."""

from __future__ import annotations

import random
from collections import OrderedDict
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms.errors import KeyringFileError, KmsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from .cache_policy import CachePolicy


@dataclass(frozen=True, slots=True)
class _Failure:
    error: KmsError | KeyringFileError
    pause: float
    until: float


class FailedLoads:
    """The last failure of each namespace that has no cached keys.

    The first pause is `retry_pause`. It doubles with each failure in a row, up to `failure_ttl`, and is shortened at random by up to
    half, so that processes and namespaces don't ask together.

    Args:
        policy: The limits of the cache.
        clock: Returns monotonic seconds.
    """

    def __init__(self, policy: CachePolicy, clock: Callable[[], float]) -> None:
        self._policy, self._clock = policy, clock
        self._failures: OrderedDict[UUID, _Failure] = OrderedDict()

    def check(self, namespace_id: UUID) -> None:
        """Raise the last failure again, if it is too early to ask the KMS again."""
        failure = self._failures.get(namespace_id)
        if failure is not None and self._clock() < failure.until:
            raise copy(failure.error)

    def note(self, namespace_id: UUID, error: BaseException | None) -> None:
        """Remember a failed load, if a KMS or its keyring file is the reason and has not refused the key.

        Other failures are left out: a namespace without keys may be created by the next call, and a refusal is an answer.

        Args:
            namespace_id: The namespace.
            error: The failure of the load; None if it did not fail.
        """
        if not isinstance(error, (KmsError, KeyringFileError)) or error.is_refusal:
            self.forget(namespace_id)
            return
        last = self._failures.pop(namespace_id, None)
        pause = self._policy.retry_pause if last is None else min(2 * last.pause, self._policy.failure_ttl)
        until = self._clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        self._failures[namespace_id] = _Failure(error, pause, until)
        while len(self._failures) > self._policy.max_namespaces:
            self._failures.popitem(last=False)

    def forget(self, namespace_id: UUID) -> None:
        """Forget the failure of a namespace, so that its next use loads the keys."""
        self._failures.pop(namespace_id, None)
