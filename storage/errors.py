"""Errors of storage, below the roots in `strongroom.kms.errors`.

    StrongroomError
    ├── Unavailable                                 (kms)
    │   └── Timeout                                 (kms)
    ├── NotAuthenticated                            (kms)
    └── StorageError                                the database refused a request, or did not answer
        ├── NotFound                                the row does not exist
        │   └── NamespaceNotFound
        ├── NamespaceAlreadyExists
        ├── KekNotConfigured                        a namespace needs a KEK, and none is named
        ├── ConditionFailed                         a row does not match the request
        │   ├── ShardOwnershipLost
        │   ├── NexusTableVersionConflict
        │   ├── NexusEndpointVersionConflict
        │   ├── WorkflowConditionFailed             (executions/errors.py)
        │   └── CurrentWorkflowConditionFailed      (executions/errors.py)
        ├── InvalidPersistenceRequest               the request is malformed
        │   └── PageTokenMismatch
        ├── TransactionSizeLimit                    a blob is too large
        ├── DataLoss                                stored rows contradict each other
        ├── SchemaMismatch                          the schema is of another version
        ├── CellMismatch                            the database belongs to another cell
        ├── OlderThanAnchor                         the database is older than a state that is anchored outside of it
        ├── PoolingNotSupported                     a pooler gives statements to different sessions
        ├── NotCommitted                            a transaction was rolled back, because a statement in it failed
        ├── DatabaseUnavailable                     also an Unavailable; may be retried
        │   └── DatabaseTimeout                     also a Timeout
        │       └── AppendHistoryTimeout
        ├── DatabaseAuthenticationError             also a NotAuthenticated
        └── ResourceExhausted                       may be retried

Every error has `may_have_been_committed`, as in Temporal: False if the write surely had no effect, True if that is unknown. No message
contains a parameter of a statement or anything else that a tenant wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.kms import NotAuthenticated, StrongroomError, Timeout, Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence


class StorageError(StrongroomError):
    """The database refused a request or did not answer.

    Attributes:
        may_have_been_committed: Whether the write that failed may have taken effect.
        raced: Whether another transaction was the cause, so that the same statement may succeed the next time.
    """

    def __init__(self, message: str | None = None, *, may_have_been_committed: bool = False) -> None:
        super().__init__(message)
        self.may_have_been_committed = may_have_been_committed
        self.raced = False


class NotFound(StorageError):  # noqa: N818 - Temporal's names, here and below
    """The row does not exist."""


class NamespaceNotFound(NotFound):
    """The namespace does not exist, or the caller has no role in it. `strongroom namespace list` and `access list` show both."""


class NamespaceAlreadyExists(StorageError):  # noqa: N818
    """A namespace with this name or id exists."""


class KekNotConfigured(StorageError):  # noqa: N818
    """The new namespace needs a KEK, and neither the request nor the configuration names one.

    Set `kek` in the section [namespaces], or name one for this namespace: in its data as `strongroom.kek`.
    """

    def __init__(self) -> None:
        super().__init__(
            "the new namespace needs a KEK, and neither the request nor the configuration names one; set kek in the section "
            '[namespaces], for example kek = "local:ns-{id}" for a KEK of each namespace, or name one for this namespace: '
            "put strongroom.kek=PROVIDER:KEY into its data"
        )


class ConditionFailed(StorageError):  # noqa: N818
    """The stored row does not match what the request expects."""


class ShardOwnershipLost(ConditionFailed):
    """Another host owns the shard: its range_id is not the request's.

    Attributes:
        shard_id: The shard.
    """

    def __init__(self, shard_id: int, message: str | None = None) -> None:
        super().__init__(message or f"shard {shard_id} has another owner now; acquire it again before writing")
        self.shard_id = shard_id


class NexusTableVersionConflict(ConditionFailed):
    """The table of Nexus endpoints has another version than the caller knows."""

    def __init__(self) -> None:
        super().__init__("nexus endpoints table version mismatch: list the endpoints again")


class NexusEndpointVersionConflict(ConditionFailed):
    """The Nexus endpoint has another version than the caller knows, does not exist, or exists already."""

    def __init__(self) -> None:
        super().__init__(
            "nexus endpoint version mismatch: it was created, changed or deleted since it was read; read it again"
        )


class InvalidPersistenceRequest(StorageError):  # noqa: N818
    """The request is malformed."""


class PageTokenMismatch(InvalidPersistenceRequest):
    """The page token does not belong to this operation, or to what it reads."""


class TransactionSizeLimit(StorageError):  # noqa: N818
    """A blob is larger than the limit for one transaction."""


class DataLoss(StorageError):  # noqa: N818
    """Stored rows contradict each other: a row is missing, there is a row too many, or a row is older than it was."""


class SchemaMismatch(StorageError):  # noqa: N818
    """The database's schema is not the one that this version works with."""


class CellMismatch(StorageError):  # noqa: N818
    """The database does not belong to the cell in the configuration."""


_FEW = 5


def number_of(number: int, noun: str) -> str:
    """Return a number and its noun, which has a plural with an s."""
    return f"{number} {noun}{'s' * (number != 1)}"


def few(sentences: Sequence[str]) -> str:
    """Return the first sentences of a list that may be long, and how many there are besides."""
    left = len(sentences) - _FEW
    return "; ".join([*sentences[:_FEW], *([f"and {left} more"] if left > 0 else [])])


ACCEPT_OLDER = "run 'strongroom restore accept --reason TEXT --dry-run' on each host"
"""What to do after a restore on purpose."""


class OlderThanAnchor(StorageError):  # noqa: N818
    """The database, or a part of it, is older than a state that is anchored outside of the database.

    Attributes:
        differences: A sentence for each part. It names the state in the database, and the anchored one.
    """

    def __init__(self, differences: Sequence[str], *, advice: str = ACCEPT_OLDER) -> None:
        super().__init__(
            f"the database is older than it was: {few(differences)}. An older state was put back, so nothing is read or "
            f"written. If the database was restored from a backup on purpose, {advice}; see docs/how-to/backup-and-restore.md"
        )
        self.differences = tuple(differences)


class PoolingNotSupported(StorageError):  # noqa: N818
    """A pooler in front of the database gives the statements of one connection to different sessions.

    Attributes:
        pooler: The pooler's name and version as far as they are known.
    """

    def __init__(self, message: str | None = None, *, pooler: str = "", may_have_been_committed: bool = False) -> None:
        whose = pooler or "a pooler in front of the database"
        message = message or (
            f"{whose} does not keep one session for each connection, as in pool_mode = transaction or statement. Strongroom needs "
            "session pooling: the session has its search path, limits, row-level security and notifications. "
            "Set pool_mode = session for this database, or connect to PostgreSQL directly; see docs/how-to/pgbouncer.md"
        )
        super().__init__(message, may_have_been_committed=may_have_been_committed)
        self.pooler = pooler


class NotCommitted(StorageError):  # noqa: N818
    """PostgreSQL rolled a transaction back at its end, because a statement in it had failed."""

    def __init__(self) -> None:
        super().__init__(
            "the transaction was not committed, because one of its statements failed and the error was handled inside of it. "
            "Let the error leave the transaction, or run the statement in a savepoint"
        )


class DatabaseUnavailable(StorageError, Unavailable):  # noqa: N818
    """The database can't be reached, or can't write now."""


class DatabaseTimeout(DatabaseUnavailable, Timeout):
    """The database did not answer in time."""


class AppendHistoryTimeout(DatabaseTimeout):
    """The database did not answer an append of history in time. Only the append was started."""


class DatabaseAuthenticationError(StorageError, NotAuthenticated):
    """The database does not accept the credentials of this process."""


class ResourceExhausted(StorageError):  # noqa: N818
    """The database has no room left: disk, memory or connections."""

    retryable = True
