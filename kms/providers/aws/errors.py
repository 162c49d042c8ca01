"""Map errors of AWS KMS, of the SDK and of the network to `kms/errors.py`.

AWS's own text is repeated only for codes whose text names keys and callers and nothing else. The text of a refused
signature contains the signed request with its session token, and that of a refused parameter contains its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    SSOError,
    TokenRetrievalError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as HTTPTimeoutError

from strongroom.kms.errors import (
    AccessDenied,
    IntegrityError,
    InvalidRequest,
    KeyConflict,
    KeyDisabled,
    KeyNotFound,
    KeyPendingDeletion,
    KmsAuthenticationError,
    KmsError,
    KmsTimeout,
    KmsUnavailable,
    QuotaExceeded,
    StrongroomError,
    Throttled,
    UnsupportedOperation,
)
from strongroom.kms.transport.unreachable import failed_connection

if TYPE_CHECKING:
    from collections.abc import Mapping

SDK_ERRORS = (BotoCoreError, ClientError, ResponseParserError, HTTPError, ValueError, KeyError)
"""All exceptions of a call. The SDK raises the last two for answers that it can't parse."""

_TOO_MANY, _SERVER_ERROR = 429, 500
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    TokenRetrievalError,
    SSOError,
    ProfileNotFound,
)

_KEY_CODES: dict[str, type[KmsError]] = {  # codes whose texts are repeated
    "NotFoundException": KeyNotFound,
    "DisabledException": KeyDisabled,
    "KMSInvalidStateException": KeyDisabled,
    "AccessDeniedException": AccessDenied,
    "AccessDenied": AccessDenied,
    "LimitExceededException": QuotaExceeded,  # a quota of keys or rotations, which waiting does not reset
    "AlreadyExistsException": KeyConflict,
    "ConflictException": KeyConflict,
    "UnsupportedOperationException": UnsupportedOperation,
}
_OTHER_CODES: dict[str, type[KmsError]] = {
    "InvalidKeyUsageException": UnsupportedOperation,
    "InvalidGrantTokenException": AccessDenied,
    "ThrottlingException": Throttled,
    "Throttling": Throttled,
    "TooManyRequestsException": Throttled,
    "RequestLimitExceeded": Throttled,
    "UnrecognizedClientException": KmsAuthenticationError,
    "InvalidClientTokenId": KmsAuthenticationError,
    "ExpiredTokenException": KmsAuthenticationError,
    "ExpiredToken": KmsAuthenticationError,
    "InvalidSignatureException": KmsAuthenticationError,
    "SignatureDoesNotMatch": KmsAuthenticationError,
    "IncompleteSignatureException": KmsAuthenticationError,
    "IncompleteSignature": KmsAuthenticationError,
    "MissingAuthenticationTokenException": KmsAuthenticationError,
    "MissingAuthenticationToken": KmsAuthenticationError,
    "OptInRequired": KmsAuthenticationError,
    "RequestExpired": KmsAuthenticationError,
    "KMSInternalException": KmsUnavailable,
    "DependencyTimeoutException": KmsUnavailable,
    "KeyUnavailableException": KmsUnavailable,
}
_OWN_WORDS: dict[type[KmsError], str] = {
    KmsUnavailable: "AWS KMS failed.",
    InvalidRequest: "AWS KMS does not accept this request.",
}
_ANOTHER_REGION = "Invalid arn"  # the endpoint of a region knows nothing about keys of others
_DOES_NOT_OPEN = {"IncorrectKeyException", "InvalidCiphertextException"}


def error_of(error: Exception, what: str, operation: str) -> StrongroomError:
    """Return our error for an exception of the SDK. It has no reference to the exception.

    Args:
        error: One of `SDK_ERRORS`.
        what: The KEK, for the message.
        operation: AWS's name of the operation. An answer to another operation is about credentials.
    """
    name = type(error).__name__
    if isinstance(error, ClientError):
        return _answered(error, what, operation)
    if isinstance(error, NewConnectionError):  # a subclass of the timeout in older versions of urllib3
        return KmsUnavailable(f"{what}: AWS KMS can't be reached ({name}: {failed_connection(error)})")
    if isinstance(error, (HTTPTimeoutError, ConnectTimeoutError, ReadTimeoutError)):
        return KmsTimeout(f"{what}: no answer in time ({name})")
    if isinstance(error, _NO_CREDENTIALS):
        return KmsAuthenticationError(f"{what}: the SDK has no credentials that can be used ({name})")
    if isinstance(error, (HTTPError, HTTPClientError)):
        return KmsUnavailable(f"{what}: AWS KMS can't be reached ({name}: {failed_connection(error)})")
    if isinstance(error, BotoCoreError):
        return InvalidRequest(f"{what}: the SDK does not send this {operation} ({name})")
    return KmsUnavailable(f"{what}: the answer to {operation} can't be read ({name})")


def _answered(error: ClientError, what: str, operation: str) -> StrongroomError:
    answer = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    code, text, status = str(answer.get("Code", "")), str(answer.get("Message", "")), metadata.get("HTTPStatusCode", 0)
    if code in _DOES_NOT_OPEN:
        return IntegrityError()
    kind = _KEY_CODES.get(code) or _OTHER_CODES.get(code) or _by_status(status)
    if code == "KMSInvalidStateException" and "pending" in text.lower() and "deletion" in text.lower():
        kind = KeyPendingDeletion
    if kind is AccessDenied and error.operation_name != operation:
        kind = KmsAuthenticationError  # the role could not be assumed
    shown = text if code in _KEY_CODES and text else _OWN_WORDS.get(kind) or kind.__doc__
    return kind(
        f"{what}: {shown} ({code or status})",
        retry_after=_retry_after(metadata.get("HTTPHeaders", {})),
        provider_code=code or str(status),
        request_id=metadata.get("RequestId"),
        is_refusal=False if code == "NotFoundException" and text.startswith(_ANOTHER_REGION) else None,
    )


def _by_status(status: int) -> type[KmsError]:
    if status == _TOO_MANY:
        return Throttled
    return KmsUnavailable if status >= _SERVER_ERROR else InvalidRequest


def _retry_after(headers: Mapping[str, str]) -> float | None:
    given = headers.get("retry-after", "")
    return float(given) if given.isdecimal() else None
