"""What storage raises, on the tree of `strongroom.kms.errors`.

    StrongroomError
    └── StorageError
        ├── NotFound ── NamespaceNotFound       ├── NamespaceAlreadyExists
        ├── ConditionFailed                     ├── InvalidPersistenceRequest
        ├── TransactionSizeLimit                ├── DataLoss
        ├── SchemaMismatch                      ├── CellMismatch
        └── Unavailable ── Timeout              └── ResourceExhausted

`may_have_been_committed` is Temporal's question after a failed write: False when the write surely left nothing, True when nobody
can say. No message holds an SQL parameter or anything else that a tenant wrote.
"""

from __future__ import annotations

from typing import ClassVar

from strongroom.kms import StrongroomError


class StorageError(StrongroomError):
    """The database refused, or did not answer.

    Attributes:
        may_have_been_committed: whether the write that failed may have taken effect.
        retryable: whether the same call may succeed later with nothing changed.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, may_have_been_committed: bool = False) -> None:
        super().__init__(message)
        self.may_have_been_committed = may_have_been_committed


class NotFound(StorageError):  # noqa: N818 - Temporal's names, here and below
    """No such row."""


class NamespaceNotFound(NotFound):
    """No such namespace. `strongroom namespace list` shows those that exist."""


class NamespaceAlreadyExists(StorageError):  # noqa: N818
    """A namespace of this name or id exists."""


class ConditionFailed(StorageError):  # noqa: N818
    """The row is not, or no longer, as the request expects it."""


class InvalidPersistenceRequest(StorageError):  # noqa: N818
    """The request is malformed."""


class TransactionSizeLimit(StorageError):  # noqa: N818
    """A batch of history events is larger than the limit for one transaction."""


class DataLoss(StorageError):  # noqa: N818
    """Stored rows contradict each other: one is missing, or one too many is there."""


class SchemaMismatch(StorageError):  # noqa: N818
    """The database's schema is not the one that this version works with."""


class CellMismatch(StorageError):  # noqa: N818
    """The database belongs to another cell than the configuration names."""


class Unavailable(StorageError):  # noqa: N818
    """The database can't be reached, or can't write now."""

    retryable = True


class Timeout(Unavailable):
    """The database did not answer in time."""


class ResourceExhausted(StorageError):  # noqa: N818
    """The database has no room left: disk, memory or connections."""

    retryable = True
