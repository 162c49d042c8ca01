"""Map answers of Cloud KMS to `kms/errors.py`. gcp_kms.md lists the sources of Cloud KMS's texts."""

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
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,  # unless the state of a version is the cause
    grpc.StatusCode.ALREADY_EXISTS: KeyConflict,
    grpc.StatusCode.ABORTED: KeyConflict,
    grpc.StatusCode.UNIMPLEMENTED: UnsupportedOperation,
}  # every other status (UNAVAILABLE, INTERNAL, UNKNOWN, CANCELLED, DATA_LOSS) is KmsUnavailable

# Statuses whose text names only resources, permissions and quotas. Other texts may repeat a field's value or come from a proxy.
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
    "PENDING_GENERATION": KmsUnavailable,  # for a few seconds, in an HSM
}

_STATE_TEXT = re.compile(r"current state is: ([A-Z_]+)")
_PROXY_TEXT = re.compile(
    r"http2 header with status|HTTP status code \d{3}"
)  # gRPC's words for an answer that is not gRPC
# These reasons refuse a project or a network, and are not about a key.
_ABOUT_THE_PROJECT = {
    *("SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_INVALID", "CONSUMER_SUSPENDED", "USER_PROJECT_DENIED"),
    "SECURITY_POLICY_VIOLATED",
}
# gRPC's own words, for a connection that failed. The reason is the system's or the resolver's.
_CONNECTION_TEXT = re.compile(
    r"last error: \w+: ipv[46]:(\S+): .*?([\w ]{1,60})$|errors resolving (\S+): .*?([\w ]{1,60})\]$"
)
_CHECKSUM_TEXT = re.compile(r"checksum in field \w+ did not match")
_TEXT_LENGTH = 300


@dataclass(frozen=True, slots=True)
class _Details:
    """The details of a status.

    Attributes:
        reason: The error's name within its status, for example `RATE_LIMIT_EXCEEDED` or `KEY_DISABLED`.
        retry_after: The seconds to wait before a retry.
        request_id: The id of the call in the server's log.
    """

    reason: str | None = None
    retry_after: float | None = None
    request_id: str | None = None


def failure(error: grpc.aio.AioRpcError, what: str, *, opening: bool = False) -> StrongroomError:
    """Return our error for a status.

    Args:
        error: The error of the call.
        what: The KEK or the key ring, for the message.
        opening: Whether the call was a Decrypt. Its INVALID_ARGUMENT means that the ciphertext does not open.
    """
    status, text = error.code(), error.details() or ""
    details = _details(error.trailing_metadata() or ())
    if status is grpc.StatusCode.INVALID_ARGUMENT and _CHECKSUM_TEXT.search(text):
        return damaged(what)
    if status is grpc.StatusCode.INVALID_ARGUMENT and opening:
        return IntegrityError()
    kind = KmsUnavailable if _PROXY_TEXT.search(text) else _STATUSES.get(status, KmsUnavailable)
    if status is grpc.StatusCode.FAILED_PRECONDITION:
        kind = _STATES.get(_state(details.reason, text), kind)
    lost = _CONNECTION_TEXT.search(text) if status is grpc.StatusCode.UNAVAILABLE else None
    why = f"; {lost[1] or lost[3]}: {(lost[2] or lost[4]).strip()}" if lost else ""
    return kind(
        f"{what}: {text[:_TEXT_LENGTH] if status in _QUOTED and text else kind.__doc__} ({status.name}{why})",
        retry_after=details.retry_after if kind.retryable else None,
        provider_code=details.reason or status.name,
        request_id=details.request_id,
        is_refusal=False if details.reason in _ABOUT_THE_PROJECT else None,
    )


def of_state(state: str, what: str) -> KmsError | None:
    """Return the error for a version in this state, or None if the state is not the reason."""
    kind = _STATES.get(state)
    return None if kind is None else kind(f"{what}: its version is in state {state}", provider_code=f"KEY_{state}")


def damaged(what: str) -> KmsUnavailable:
    """Return the error for a request or an answer with a wrong checksum. A retry may succeed."""
    msg = f"{what}: a request or an answer was damaged on its way (CRC32C)"
    return KmsUnavailable(msg, provider_code="CRC32C")


def _state(reason: str | None, text: str) -> str:
    """Return the key state that caused a FAILED_PRECONDITION, from its violation of type `KEY_` + state or from its text."""
    if reason is not None and reason.removeprefix("KEY_") in _STATES:
        return reason.removeprefix("KEY_")
    match = _STATE_TEXT.search(text)
    return match[1] if match else ""


def _details(metadata: Iterable[tuple[str, str | bytes]]) -> _Details:
    """Return the details in the trailer, which is a `google.rpc.Status`."""
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
        return _Details()  # the trailer can't be parsed
    violated = [violation.type for violation in precondition.violations]
    return _Details(
        reason=(violated[0] if violated else info.reason) or None,
        retry_after=seconds,
        request_id=request.request_id or None,
    )
