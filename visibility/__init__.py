"""Search over sealed visibility records: the list filter language, the token index, exact answers.

`fields.py` is the one table for a security reviewer: what the index holds of each attribute, and what it shows.
`DESIGN.md` beside this file says why.
"""

from strongroom.kms.sealing.record_kinds import VISIBILITY_RECORD

from .attributes import AttributeType
from .errors import (
    InvalidExpression,
    InvalidPageToken,
    InvalidQuery,
    InvalidRecord,
    MalformedQuery,
    QueryBudgetExceeded,
    SearchIndexMismatch,
    SearchIndexTimeout,
    SearchIndexUnavailable,
    UnknownAttribute,
    UnsupportedQuery,
    VisibilityError,
)
from .filter.parser import parse_filter
from .filter.tree import Attribute, ListFilter, SearchAttributes
from .filter.values import parse_datetime
from .index.document import check_record, registrable
from .index.layout import PRESETS, Layout, new_layout, parse_layout
from .index.record import AttributeValue, VisibilityRecord
from .jobs.drift import Drift, NamespaceTally, Reconciliation
from .jobs.indexer import Indexer, IndexerState
from .jobs.reconciler import Reconciler
from .jobs.rotation import IndexRotation, Rotation
from .jobs.sealed_copies import IndexCopies, SealedCopy
from .jobs.token_audit import TokenAudit, TokenTally
from .search.evaluate import matches
from .search.explain import ExplainedCondition, Explanation
from .search.manager import ExecutionCount, ExecutionsPage, VisibilityManager

__all__ = [
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
    "SearchIndexTimeout",
    "SearchIndexUnavailable",
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
