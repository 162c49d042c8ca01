"""What storage raises, on the tree of `strongroom.kms.errors`.

    StrongroomError
    └── StorageError
        ├── NotFound ── NamespaceNotFound       ├── NamespaceAlreadyExists
        ├── ConditionFailed                     ├── InvalidPersistenceRequest
        │   ├── ShardOwnershipLost              ├── TransactionSizeLimit
        │   ├── WorkflowConditionFailed         ├── DataLoss
        │   └── CurrentWorkflowConditionFailed  ├── SchemaMismatch
        ├── Unavailable ── Timeout              ├── CellMismatch
        │                  └── AppendHistoryTimeout
        └── ResourceExhausted

`may_have_been_committed` is Temporal's question after a failed write: False when the write surely left nothing, True when nobody
can say. No message holds an SQL parameter or anything else that a tenant wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from strongroom.kms import StrongroomError

if TYPE_CHECKING:
    from uuid import UUID

    from .data_blob import DataBlob


class StorageError(StrongroomError):
    """The database refused, or did not answer.

    Attributes:
        may_have_been_committed: whether the write that failed may have taken effect.
        raced: whether another transaction was in the way, so that the same statement may fare differently the next time.
        retryable: whether the same call may succeed later with nothing changed.
    """

    retryable: ClassVar[bool] = False

    def __init__(self, message: str | None = None, *, may_have_been_committed: bool = False) -> None:
        super().__init__(message)
        self.may_have_been_committed = may_have_been_committed
        self.raced = False


class NotFound(StorageError):  # noqa: N818 - Temporal's names, here and below
    """No such row."""


class NamespaceNotFound(NotFound):
    """No such namespace. `strongroom namespace list` shows those that exist."""


class NamespaceAlreadyExists(StorageError):  # noqa: N818
    """A namespace of this name or id exists."""


class ConditionFailed(StorageError):  # noqa: N818
    """The row is not, or no longer, as the request expects it."""


class ShardOwnershipLost(ConditionFailed):
    """Another host owns the shard now: its range_id is not the request's.

    Attributes:
        shard_id: which.
    """

    def __init__(self, shard_id: int, message: str | None = None) -> None:
        super().__init__(message or f"shard {shard_id} has another owner now; acquire it again before writing")
        self.shard_id = shard_id


class WorkflowConditionFailed(ConditionFailed):
    """The run is not at the version that the request expects, or exists when it should be created.

    Attributes:
        next_event_id: as stored.
        db_record_version: as stored.
    """

    def __init__(self, message: str, *, next_event_id: int, db_record_version: int) -> None:
        super().__init__(message)
        self.next_event_id = next_event_id
        self.db_record_version = db_record_version


class CurrentWorkflowConditionFailed(ConditionFailed):
    """The workflow's current run is not what the request's mode expects.

    Attributes:
        run_id: the current run; None where there is none. What follows is its, and None or 0 without one.
        create_request_id: of the request that started it.
        state: WorkflowExecutionState, by number.
        status: WorkflowExecutionStatus, by number.
        last_write_version: of the run.
        start_time: nanoseconds since 1970; None where the service gave none.
        execution_state: the blob that the service keeps with the current run.
    """

    def __init__(
        self,
        message: str,
        *,
        run_id: UUID | None = None,
        create_request_id: str = "",
        state: int = 0,
        status: int = 0,
        last_write_version: int = 0,
        start_time: int | None = None,
        execution_state: DataBlob | None = None,
    ) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.create_request_id = create_request_id
        self.state = state
        self.status = status
        self.last_write_version = last_write_version
        self.start_time = start_time
        self.execution_state = execution_state


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


class AppendHistoryTimeout(Timeout):
    """The database did not answer an append of history in time. Nothing but the append was started."""


class ResourceExhausted(StorageError):  # noqa: N818
    """The database has no room left: disk, memory or connections."""

    retryable = True
