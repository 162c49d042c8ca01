"""Types of search attributes, under Temporal's names."""

from __future__ import annotations

from enum import Enum


class AttributeType(Enum):
    """The type of a search attribute. It decides which operators and literals are allowed."""

    KEYWORD = "Keyword"
    KEYWORD_LIST = "KeywordList"
    TEXT = "Text"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
