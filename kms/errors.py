"""Errors of keys and sealing, and the roots of every other error in Strongroom.

    StrongroomError
    ├── Unavailable                     a server that Strongroom needs can't be reached
    │   └── Timeout                     a server did not answer in time
    ├── NotAuthenticated                a caller could not prove who they are
    ├── IntegrityError                  a sealed value or a wrapped key did not open; one error for every cause
    ├── PinMismatch                     the cell's own keys are not the ones that the configuration names
    ├── UnsupportedFormat               bytes that are not a sealed value of a known format
    ├── SealingLimitExceeded            a plaintext or a batch that is larger than the format allows
    ├── KeyringFileError                the local provider's file is missing, damaged or readable by others
    │   └── KeyringDiverged             the file is another copy than the one that made the cell's newest KEKs
    ├── InvalidCertificate              an erasure certificate that was altered or signed by another key
    └── KmsError                        a KMS or the key registry refused, or did not answer
        ├── KmsUnavailable              also an Unavailable; may be retried
        │   └── KmsTimeout              also a Timeout
        ├── Throttled                   may be retried
        ├── KmsAuthenticationError      also a NotAuthenticated
        ├── AccessDenied
        ├── KeyNotFound
        ├── KeyDisabled
        │   ├── KeyPendingDeletion
        │   └── KeyWithdrawn
        ├── KeyDestroyed
        ├── KeyConflict
        ├── RegistryAltered             the key registry is not as Strongroom wrote it, or older than it was
        ├── InvalidRequest
        ├── UnsupportedOperation
        ├── QuotaExceeded
        └── WrongRegion

`Unavailable`, `Timeout` and `NotAuthenticated` are roots: a package raises a subclass that is also part of its own
branch. `except Unavailable` therefore catches a KMS, a database and a search index alike, and `except KmsError` catches
everything that a KMS call raises. `strongroom.storage` and `strongroom.visibility` add their branches to
`StrongroomError`.

A message names ids, versions and files. It never contains key bytes or anything that a tenant wrote.
"""

from __future__ import annotations

from typing import ClassVar


class StrongroomError(Exception):
    """The base class of all errors of Strongroom.

    If the caller passes no message, the message is the first line of the subclass's docstring.

    Attributes:
        retryable: whether the same call may succeed later without any change.
        is_refusal: whether this is a KMS's answer that a key may not be used. Cached keys are then evicted at once. After any
            other error they are used until their hard TTLs.
        may_have_been_committed: whether the call that failed may have taken effect, wholly or in part. Read the state, or repeat
            the call: it continues where it stopped.
    """

    retryable: ClassVar[bool] = False
    is_refusal: bool = False
    may_have_been_committed: bool = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", maxsplit=1)[0])


class Unavailable(StrongroomError):  # noqa: N818 - the field's term, as are the names below
    """A server can't be reached, or can't serve the request now."""

    retryable = True


class Timeout(Unavailable):
    """A server did not answer in time."""


class NotAuthenticated(StrongroomError):  # noqa: N818
    """The caller is not authenticated."""


class IntegrityError(StrongroomError):
    """A sealed value did not open: it was altered, moved, or sealed under another key."""


class PinMismatch(StrongroomError):  # noqa: N818
    """The cell's own keys are not the ones that the configuration names."""


class UnsupportedFormat(StrongroomError):  # noqa: N818 - the name in FORMAT.md
    """These bytes are not a sealed value of a format that this version reads."""


class SealingLimitExceeded(StrongroomError):  # noqa: N818
    """A plaintext or a batch is larger than the sealed format allows."""


class KeyringFileError(StrongroomError):
    """The keyring file of the local provider can't be used."""


class KeyringDiverged(KeyringFileError):  # noqa: N818
    """The keyring file is not the copy that made the cell's newest KEKs."""


class InvalidCertificate(StrongroomError):  # noqa: N818
    """The file is not an erasure certificate, or it was altered after it was signed."""


class KmsError(StrongroomError):
    """A KMS or the registry of data keys refused a request or did not answer.

    Attributes:
        retry_after: seconds to wait before the next call, as requested by the KMS; None if it requested nothing.
        provider_code: the KMS's own name of the error; None if it gave no name.
        request_id: the id of the call in the KMS's own log; None if the KMS gave no id.

    Args:
        is_refusal: False if this is not the KMS's answer about the key, for example because something else answered.
            None means the value of the class.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        provider_code: str | None = None,
        request_id: str | None = None,
        is_refusal: bool | None = None,
    ) -> None:
        super().__init__(message)
        if is_refusal is not None:
            self.is_refusal = is_refusal
        self.retry_after = retry_after
        self.provider_code = provider_code
        self.request_id = request_id


class KmsUnavailable(KmsError, Unavailable):  # noqa: N818
    """The KMS can't be reached."""


class KmsTimeout(KmsUnavailable, Timeout):
    """The KMS did not answer in time."""


class Throttled(KmsError):  # noqa: N818
    """The KMS limits the rate of requests."""

    retryable = True


class KmsAuthenticationError(KmsError, NotAuthenticated):
    """The KMS does not accept the credentials of this process."""


class AccessDenied(KmsError):  # noqa: N818
    """The KMS does not allow this caller to use the key."""

    is_refusal = True


class KeyNotFound(KmsError):  # noqa: N818
    """The key does not exist."""

    is_refusal = True


class KeyDisabled(KmsError):  # noqa: N818
    """The key is disabled."""

    is_refusal = True


class KeyPendingDeletion(KeyDisabled):
    """The key is scheduled for deletion."""


class KeyWithdrawn(KeyDisabled):
    """The namespace is deleted. Its keys can't be used, and are destroyed after the grace period."""


class KeyDestroyed(KmsError):  # noqa: N818
    """The key is destroyed. Nobody can open what it sealed."""

    is_refusal = True


class KeyConflict(KmsError):  # noqa: N818
    """Another caller changed the same key first. Read the key again before you retry."""


class RegistryAltered(KmsError):  # noqa: N818
    """The key registry was changed outside of Strongroom, or is older than it was.

    It says nothing about rows of data: they open again once the registry is restored. So it is no `IntegrityError`.
    """


class InvalidRequest(KmsError):  # noqa: N818
    """The request is malformed."""


class UnsupportedOperation(KmsError):  # noqa: N818
    """The provider does not support this operation."""


class QuotaExceeded(KmsError):  # noqa: N818
    """The KMS has reached a quota."""


class WrongRegion(KmsError):  # noqa: N818
    """A KEK or a namespace belongs to another region than the cell."""

    is_refusal = True
