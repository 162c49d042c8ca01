"""What several KEKs answered: one error for their errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from strongroom.kms.errors import IntegrityError, KmsError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.kms.provider import KekRef

T = TypeVar("T")


def is_down(error: StrongroomError) -> bool:
    """Say whether waiting may help: then a child is out of reach, and has refused nothing."""
    return isinstance(error, KmsError) and error.retryable


def error_of_all(what: str, errors: Mapping[KekRef, StrongroomError]) -> StrongroomError:
    """Return the most useful of several errors, with what each child said.

    One that may pass comes first, as the same call may succeed later; then the first refusal; that nothing opened is
    told only if no child said anything else, and tells no more than any `IntegrityError`.
    """
    refused = [error for error in errors.values() if not isinstance(error, IntegrityError)]
    if not refused:
        return IntegrityError()
    passing = [error for error in refused if is_down(error)]
    chosen = (passing or refused)[0]
    said = "; ".join(f"{str(child).rstrip(':')}: {type(error).__name__}: {error}" for child, error in errors.items())
    message = f"{what}: {said}"
    if not isinstance(chosen, KmsError):
        return type(chosen)(message)
    waits = [error.retry_after for error in passing if isinstance(error, KmsError) and error.retry_after is not None]
    return type(chosen)(
        message,
        retry_after=min(waits) if len(waits) == len(passing) and waits else None,
        provider_code=chosen.provider_code,
        request_id=chosen.request_id,
    )


def failed_of(said: Mapping[KekRef, object]) -> dict[KekRef, StrongroomError]:
    """Return the children whose answer is an error."""
    return {child: answer for child, answer in said.items() if isinstance(answer, StrongroomError)}


def all_done(what: str, said: Mapping[KekRef, T | StrongroomError]) -> list[T]:
    """Return the answers of all children, or raise the most useful error of those that failed."""
    failed = failed_of(said)
    if failed:
        raise error_of_all(what, failed)
    return [answer for answer in said.values() if not isinstance(answer, StrongroomError)]
