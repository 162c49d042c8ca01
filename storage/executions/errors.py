"""Refusals of the execution store, below `ConditionFailed` in the tree of `storage/errors.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.storage.errors import ConditionFailed

if TYPE_CHECKING:
    from uuid import UUID

    from strongroom.storage.data_blob import DataBlob


class WorkflowConditionFailed(ConditionFailed):
    """The run is not at the version that the request expects, or it exists although the request creates it.

    Attributes:
        next_event_id: The stored next event id.
        db_record_version: The stored version.
    """

    def __init__(self, message: str, *, next_event_id: int, db_record_version: int) -> None:
        super().__init__(message)
        self.next_event_id = next_event_id
        self.db_record_version = db_record_version


class CurrentWorkflowConditionFailed(ConditionFailed):
    """The workflow's current run is not what the request's mode expects.

    All attributes describe the current run. If there is none, they are None, 0 or empty.

    Attributes:
        run_id: The current run.
        create_request_id: The id of the request that started it.
        state: The number of its WorkflowExecutionState.
        status: The number of its WorkflowExecutionStatus.
        last_write_version: The version of the cluster that wrote it last.
        start_time: Its start, in nanoseconds since 1970; None if the service gave none.
        execution_state: The blob that the service keeps with the current run.
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
