"""Search over sealed visibility records: the list filter language, the token index, exact answers.

`fields.py` is the one table for a security reviewer: what the index holds of each attribute, and what it shows.
`DESIGN.md` beside this file says why.
"""

from .attributes import AttributeType
from .document import check_record, registrable
from .drift import Drift, NamespaceTally, Reconciliation
from .errors import (
    InvalidExpression,
    InvalidPageToken,
    InvalidQuery,
    InvalidRecord,
    MalformedQuery,
    QueryBudgetExceeded,
    SearchIndexMismatch,
    UnknownAttribute,
    UnsupportedQuery,
    VisibilityError,
)
from .evaluate import matches
from .explain import ExplainedCondition, Explanation
from .filter_parser import parse_filter
from .filter_tree import Attribute, ListFilter, SearchAttributes
from .filter_values import parse_datetime
from .indexer import Indexer, IndexerState
from .layout import PRESETS, Layout, new_layout, parse_layout
from .manager import ExecutionCount, ExecutionsPage, VisibilityManager
from .reconciler import Reconciler
from .record import VISIBILITY_RECORD, AttributeValue, VisibilityRecord
from .rotation import MARGIN, IndexRotation, Rotation
from .sealed_copies import IndexCopies, SealedCopy
from .token_audit import TokenAudit, TokenTally

__all__ = [
    "MARGIN",
    "PRESETS",
    "VISIBILITY_RECORD",
    "Attribute",
    "AttributeType",
    "AttributeValue",
    "Drift",
    "ExecutionCount",
    "ExecutionsPage",
    "ExplainedCondition",
    "Explanation",
    "IndexCopies",
    "IndexRotation",
    "Indexer",
    "IndexerState",
    "InvalidExpression",
    "InvalidPageToken",
    "InvalidQuery",
    "InvalidRecord",
    "Layout",
    "ListFilter",
    "MalformedQuery",
    "NamespaceTally",
    "QueryBudgetExceeded",
    "Reconciler",
    "Reconciliation",
    "Rotation",
    "SealedCopy",
    "SearchAttributes",
    "SearchIndexMismatch",
    "TokenAudit",
    "TokenTally",
    "UnknownAttribute",
    "UnsupportedQuery",
    "VisibilityError",
    "VisibilityManager",
    "VisibilityRecord",
    "check_record",
    "matches",
    "new_layout",
    "parse_datetime",
    "parse_filter",
    "parse_layout",
    "registrable",
]
