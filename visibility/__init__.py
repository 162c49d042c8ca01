"""Search in sealed visibility records: Temporal's list filter language, a token index, exact answers.

filter/     the list filter language: from text to a typed tree
index/      visibility records as sealed documents, and their tokens
backends/   the `SearchIndex` protocol, in PostgreSQL and in Elasticsearch
search/     list, count and group: compile a filter, ask the index, open and evaluate documents
jobs/       indexer, reconciler, rotation of the index key, token verifier, advice on presets
fields.py   what the index holds of each attribute, and what this reveals

`DESIGN.md` in this folder has the reasons.
"""

from strongroom.kms.sealing.record_kinds import VISIBILITY_RECORD

from .attributes import AttributeType
from .backends.drift import Drift, SealedCopy
from .backends.search_index import SearchIndex
from .errors import (
    InvalidExpression,
    InvalidPageToken,
    InvalidQuery,
    InvalidRecord,
    MalformedQuery,
    QueryBudgetExceeded,
    QueryDeadlineExceeded,
    SearchIndexAnswerError,
    SearchIndexAuthenticationError,
    SearchIndexMismatch,
    SearchIndexTimeout,
    SearchIndexUnavailable,
    SearchSnapshotExpired,
    UnknownAttribute,
    UnsupportedQuery,
    VisibilityError,
)
from .filter.parser import parse_filter
from .filter.tree import Attribute, ListFilter, Order, SearchAttributes
from .filter.values import parse_datetime
from .index.document import check_record, registrable
from .index.layout import (
    BUCKETS,
    LENGTHS,
    PRESETS,
    Layout,
    active_layout,
    new_layout,
    newest_layout,
    parse_layout,
    prefixed_names,
    with_prefixes,
)
from .index.record import AttributeValue, VisibilityRecord
from .jobs.advice import Advice, IndexAdviser, PresetAdvice
from .jobs.indexer import Indexer, IndexerState
from .jobs.reconciler import Reconciler
from .jobs.reconciliation import NamespaceTally, Reconciliation
from .jobs.restored import compare_marks
from .jobs.rotation import IndexRotation, Rotation
from .jobs.sealed_copies import IndexCopies
from .jobs.token_verifier import TokenTally, TokenVerifier
from .namespace_attributes import attribute_types, filter_types
from .search.cost import Cost, SearchLimits
from .search.evaluate import matches
from .search.explain import ExplainedCondition, Explanation
from .search.manager import ExecutionCount, ExecutionsPage, VisibilityManager

__all__ = [
    "BUCKETS",
    "LENGTHS",
    "PRESETS",
    "VISIBILITY_RECORD",
    "Advice",
    "Attribute",
    "AttributeType",
    "AttributeValue",
    "Cost",
    "Drift",
    "ExecutionCount",
    "ExecutionsPage",
    "ExplainedCondition",
    "Explanation",
    "IndexAdviser",
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
    "Order",
    "PresetAdvice",
    "QueryBudgetExceeded",
    "QueryDeadlineExceeded",
    "Reconciler",
    "Reconciliation",
    "Rotation",
    "SealedCopy",
    "SearchAttributes",
    "SearchIndex",
    "SearchIndexAnswerError",
    "SearchIndexAuthenticationError",
    "SearchIndexMismatch",
    "SearchIndexTimeout",
    "SearchIndexUnavailable",
    "SearchLimits",
    "SearchSnapshotExpired",
    "TokenTally",
    "TokenVerifier",
    "UnknownAttribute",
    "UnsupportedQuery",
    "VisibilityError",
    "VisibilityManager",
    "VisibilityRecord",
    "active_layout",
    "attribute_types",
    "check_record",
    "compare_marks",
    "filter_types",
    "matches",
    "new_layout",
    "newest_layout",
    "parse_datetime",
    "parse_filter",
    "parse_layout",
    "prefixed_names",
    "registrable",
    "with_prefixes",
]
