"""The classes of queries that are compared."""

from __future__ import annotations

LISTS = {
    "everything": ("", "true"),
    "type, frequent": ("WorkflowType = 'Ship0Workflow'", "WorkflowType = 'Ship0Workflow'"),
    "type, rare": ("WorkflowType = 'Sync40Workflow'", "WorkflowType = 'Sync40Workflow'"),
    "workflow id": ("WorkflowId = 'order/web/000012'", "WorkflowId = 'order/web/000012'"),
    "customer": ("CustomerId = 'cust-00007'", "CustomerId = 'cust-00007'"),
    "type and status": (
        "WorkflowType = 'Ship1Workflow' AND ExecutionStatus = 'Failed'",
        "WorkflowType = 'Ship1Workflow' AND ExecutionStatus = 3",
    ),
    "status Completed": ("ExecutionStatus = 'Completed'", "ExecutionStatus = 2"),
    "status Running": ("ExecutionStatus = 'Running'", "ExecutionStatus = 1"),
    "IN of 20": (
        f"WorkflowType IN ({', '.join(repr(f'Charge{n}Workflow') for n in range(20))})",
        f"WorkflowType IN ({', '.join(repr(f'Charge{n}Workflow') for n in range(20))})",
    ),
    "prefix of 8": ("WorkflowId STARTS_WITH 'order/we'", "WorkflowId LIKE 'order/we%'"),
    "start of a day": (
        "StartTime BETWEEN '2026-11-10T00:00:00Z' AND '2026-11-11T00:00:00Z'",
        "StartTime BETWEEN '2026-11-10' AND '2026-11-11'",
    ),
    "history length": ("HistoryLength BETWEEN 64 AND 127", "HistoryLength BETWEEN 64 AND 127"),
    "NOT type": ("WorkflowType != 'Ship0Workflow'", "(WorkflowType = 'Ship0Workflow') IS NOT TRUE"),
    "NOT Completed": ("ExecutionStatus != 'Completed'", "ExecutionStatus <> 2"),
    "no parent": ("ParentWorkflowId IS NULL", "ParentWorkflowId IS NULL"),
    "tag": ("Tags = 'gold'", "Tags @> '\"gold\"'"),
    "words": ("Note = 'word7 word8'", "Note @@ 'word7 | word8'::tsquery"),
}


GROUPING = "GROUP BY ExecutionStatus"


COUNTS = ("everything", "type, frequent", "start of a day", "NOT Completed")
