"""Types of search attributes, under Temporal's names."""

from __future__ import annotations

from enum import Enum


class AttributeType(Enum):
    """What a search attribute holds, and so which operators and literals fit it."""

    KEYWORD = "Keyword"
    KEYWORD_LIST = "KeywordList"
    TEXT = "Text"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
