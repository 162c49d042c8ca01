"""Task queues of matching, their tasks, and their user data: Temporal's TaskStore and FairTaskStore.

Read in this order: `tasks.py` (the operations on queues and tasks), `task_requests.py` (tasks and the checks of requests),
`task_batches.py` (the statements that callers share), `task_queues.py` (the rows of queues), `user_data.py` and
`user_data_rows.py`, `task_queue_keys.py` (the tokens of names).
"""

from .task_queue_keys import TaskQueueKey
from .task_queues import TaskQueue, TaskQueuePage, UnreadableTaskQueue
from .task_requests import Task, TaskPage
from .tasks import TaskStore
from .user_data import TaskQueueUserDataStore
from .user_data_rows import TaskQueueUserData, TaskQueueUserDataConflict, UserDataPage, UserDataUpdate

__all__ = [
    "Task",
    "TaskPage",
    "TaskQueue",
    "TaskQueueKey",
    "TaskQueuePage",
    "TaskQueueUserData",
    "TaskQueueUserDataConflict",
    "TaskQueueUserDataStore",
    "TaskStore",
    "UnreadableTaskQueue",
    "UserDataPage",
    "UserDataUpdate",
]
