"""Every error of Strongroom descends from one class; this is the part of the tree that keys and sealing raise.

    StrongroomError
    ├── IntegrityError            sealed bytes, or a wrapped key, did not open: one error for every cause
    ├── UnsupportedFormat         bytes that are not a sealed value of a format this version reads
    ├── SealingLimitExceeded      a plaintext or a batch that is larger than the format allows
    ├── KeyringFileError          the local provider's file is missing, damaged or readable by others
    ├── InvalidCertificate        an erasure certificate that was altered, or that another key signed
    └── KmsError                  a KMS, or the registry of data keys, answered with a refusal or not at all
        ├── KeyNotFound           ├── KeyDisabled ── KeyPendingDeletion      ├── KeyDestroyed
        ├── KeyConflict           ├── AccessDenied                           ├── Unauthenticated
        ├── Throttled             ├── Unavailable                            ├── Timeout
        ├── InvalidRequest        ├── UnsupportedOperation                   ├── QuotaExceeded
        └── WrongRegion

`strongroom.storage` and `strongroom.visibility` hang their own branches on `StrongroomError`. A message names ids,
versions and files; it never holds key bytes, nor anything that a tenant wrote.
"""

from __future__ import annotations

from typing import ClassVar


class StrongroomError(Exception):
    """The base of all errors of Strongroom. Its docstring is the message where none is given."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", maxsplit=1)[0])


class IntegrityError(StrongroomError):
    """A sealed value did not open: it was altered, moved, or sealed under another key."""


class UnsupportedFormat(StrongroomError):  # noqa: N818 - the name of FORMAT.md
    """These bytes are not a sealed value of a format that this version reads."""


class SealingLimitExceeded(StrongroomError):  # noqa: N818 - says what happened
    """A plaintext or a batch is larger than the sealed format allows."""


class KeyringFileError(StrongroomError):
    """The keyring file of the local provider can't be used."""


class InvalidCertificate(StrongroomError):  # noqa: N818 - says what is wrong
    """This is no erasure certificate, or not as it was signed."""


class KmsError(StrongroomError):
    """A KMS or the registry of data keys refused, or did not answer.

    Attributes:
        retryable: whether the same call may succeed later with nothing changed.
        retry_after: seconds before which the KMS wants no other call; None where it did not say.
        provider_code: what the KMS itself calls this error; None where it gave no name.
        request_id: by which the KMS's own log knows the call; None where it gave none.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after: float | None = None,
        provider_code: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.provider_code = provider_code
        self.request_id = request_id


class KeyNotFound(KmsError):  # noqa: N818 - the field's term, as are the names below
    """No such key."""


class KeyDisabled(KmsError):  # noqa: N818
    """The key is disabled."""


class KeyPendingDeletion(KeyDisabled):
    """The key is scheduled for deletion."""


class KeyDestroyed(KmsError):  # noqa: N818
    """The key is destroyed; what it sealed can't be opened by anyone."""


class KeyConflict(KmsError):  # noqa: N818
    """Another caller changed the same key first; read it again and decide anew."""


class AccessDenied(KmsError):  # noqa: N818
    """The KMS does not allow this caller to use the key."""


class Unauthenticated(KmsError):  # noqa: N818
    """The KMS does not know this caller."""


class Throttled(KmsError):  # noqa: N818
    """The KMS asks to slow down."""

    retryable = True


class Unavailable(KmsError):  # noqa: N818
    """The KMS can't be reached."""

    retryable = True


class Timeout(KmsError):  # noqa: N818
    """The KMS did not answer in time."""

    retryable = True


class InvalidRequest(KmsError):  # noqa: N818
    """The request is malformed."""


class UnsupportedOperation(KmsError):  # noqa: N818
    """The provider can't do this."""


class QuotaExceeded(KmsError):  # noqa: N818
    """The KMS has no room left for this."""


class WrongRegion(KmsError):  # noqa: N818
    """A KEK or a namespace is of another region than the cell."""
