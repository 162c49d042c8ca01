"""Combine the errors of several KEKs into one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from strongroom.kms.errors import IntegrityError, KmsError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms.provider import KekRef

T = TypeVar("T")


def is_down(error: StrongroomError) -> bool:
    """Return whether an error is retryable, which means that a child is unavailable and has refused nothing."""
    return isinstance(error, KmsError) and error.retryable


def error_of_all(what: str, errors: Mapping[KekRef, StrongroomError]) -> StrongroomError:
    """Return the most useful of several errors, with the error of each child in its message.

    A retryable error is preferred, because the same call may succeed later, and then another error that is no refusal, because
    this child may still unwrap. `IntegrityError` is returned only if every child raised it.
    """
    refused = [error for error in errors.values() if not isinstance(error, IntegrityError)]
    if not refused:
        return IntegrityError()
    passing = [error for error in refused if is_down(error)]
    chosen = (passing or [error for error in refused if not error.is_refusal] or refused)[0]
    details = "; ".join(f"{str(child).rstrip(':')}: {type(error).__name__}: {error}" for child, error in errors.items())
    message = f"{what}: {details}"
    if not isinstance(chosen, KmsError):
        return type(chosen)(message)
    waits = [error.retry_after for error in passing if isinstance(error, KmsError) and error.retry_after is not None]
    return type(chosen)(
        message,
        retry_after=min(waits) if len(waits) == len(passing) and waits else None,
        provider_code=chosen.provider_code,
        request_id=chosen.request_id,
        is_refusal=chosen.is_refusal,
    )


def failed_of(answers: Mapping[KekRef, object]) -> dict[KekRef, StrongroomError]:
    """Return the children whose answer is an error."""
    return {child: answer for child, answer in answers.items() if isinstance(answer, StrongroomError)}


def all_done(what: str, answers: Mapping[KekRef, T | StrongroomError]) -> list[T]:
    """Return the answers of all children, or raise the most useful error of those that failed."""
    failed = failed_of(answers)
    if failed:
        raise error_of_all(what, failed)
    return [answer for answer in answers.values() if not isinstance(answer, StrongroomError)]
