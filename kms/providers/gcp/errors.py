"""What Cloud KMS answers, as errors of our tree (the page gcp_kms.md beside this file says where its texts are from)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from strongroom.kms.errors import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyConflict,
    KeyDestroyed,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    StrongroomError,
    Throttled,
    UnsupportedOperation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

_STATUSES: dict[grpc.StatusCode, type[KmsError]] = {
    grpc.StatusCode.NOT_FOUND: KeyNotFound,
    grpc.StatusCode.PERMISSION_DENIED: AccessDenied,
    grpc.StatusCode.UNAUTHENTICATED: KmsAuthenticationError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Throttled,
    grpc.StatusCode.DEADLINE_EXCEEDED: KmsTimeout,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,  # unless it is for the state of a version
    grpc.StatusCode.ALREADY_EXISTS: KeyConflict,
    grpc.StatusCode.ABORTED: KeyConflict,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedOperation,
}  # and what is missing here (UNAVAILABLE, INTERNAL, UNKNOWN, CANCELLED, DATA_LOSS) is KmsUnavailable

# A text that names resources, permissions and quotas. That of other statuses could repeat a field's value, or a proxy.
_QUOTED = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.FAILED_PRECONDITION,
}

_STATES: dict[str, type[KmsError]] = {
    "DISABLED": KeyDisabled,
    "DESTROY_SCHEDULED": KeyPendingDeletion,
    "DESTROYED": KeyDestroyed,
    "PENDING_GENERATION": KmsUnavailable,  # for some seconds, in an HSM
}

_STATE_TEXT = re.compile(r"current state is: ([A-Z_]+)")
_CHECKSUM_TEXT = re.compile(r"checksum in field \w+ did not match")
_TEXT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class _Details:
    """What hangs on a status.

    Attributes:
        reason: the error's name within its status, such as `RATE_LIMIT_EXCEEDED` or `KEY_DISABLED`.
        retry_after: seconds.
        request_id: of the server's log.
    """

    reason: str | None = None
    retry_after: float | None = None
    request_id: str | None = None


def failure(error: grpc.aio.AioRpcError, what: str, *, opening: bool = False) -> StrongroomError:
    """Map a status to our tree.

    Args:
        error: of the call.
        what: the KEK or the key ring that was asked for.
        opening: whether it was a Decrypt, whose INVALID_ARGUMENT says that the ciphertext does not open.
    """
    status, text = error.code(), error.details() or ""
    details = _details(error.trailing_metadata() or ())
    if status is grpc.StatusCode.INVALID_ARGUMENT and _CHECKSUM_TEXT.search(text):
        return damaged(what)
    if status is grpc.StatusCode.INVALID_ARGUMENT and opening:
        return IntegrityError()
    kind = _STATUSES.get(status, KmsUnavailable)
    if status is grpc.StatusCode.FAILED_PRECONDITION:
        kind = _STATES.get(_state(details.reason, text), kind)
    return kind(
        f"{what}: {text[:_TEXT_LENGTH] if status in _QUOTED and text else kind.__doc__} ({status.name})",
        retry_after=details.retry_after if kind.retryable else None,
        provider_code=details.reason or status.name,
        request_id=details.request_id,
    )


def of_state(state: str, what: str) -> KmsError | None:
    """Return why a version in this state is of no use; None where that is not for its state."""
    kind = _STATES.get(state)
    return None if kind is None else kind(f"{what}: its version is in state {state}", provider_code=f"KEY_{state}")


def damaged(what: str) -> KmsUnavailable:
    """Return the error of a request or an answer that is not what was sent: asked again, it may come whole."""
    msg = f"{what}: a request or an answer was damaged on its way (CRC32C)"
    return KmsUnavailable(msg, provider_code="CRC32C")


def _state(reason: str | None, text: str) -> str:
    """Return the state that a FAILED_PRECONDITION is for: its violation has the type `KEY_` + state, its text names it."""
    if reason is not None and reason.removeprefix("KEY_") in _STATES:
        return reason.removeprefix("KEY_")
    found = _STATE_TEXT.search(text)
    return found[1] if found else ""


def _details(metadata: Iterable[tuple[str, str | bytes]]) -> _Details:
    """Parse the trailer in which Google's services put a `google.rpc.Status`."""
    parts = dict(metadata)
    status, info = status_pb2.Status(), error_details_pb2.ErrorInfo()
    retry, precondition = error_details_pb2.RetryInfo(), error_details_pb2.PreconditionFailure()
    request = error_details_pb2.RequestInfo()
    given = parts.get("grpc-status-details-bin")
    try:
        status.ParseFromString(given if isinstance(given, bytes) else b"")
        for detail in status.details:
            for message in (info, retry, precondition, request):
                detail.Unpack(message)  # does nothing for another type
        seconds = retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
    except (DecodeError, ValueError):
        return _Details()  # what can't be read tells nothing
    violated = [violation.type for violation in precondition.violations]
    return _Details(
        reason=(violated[0] if violated else info.reason) or None,
        retry_after=seconds,
        request_id=request.request_id or None,
    )
