"""The worst cases of parsing a list filter: the longest ones of their kind that are accepted, and hostile ones that are refused."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from strongroom.visibility import AttributeType, InvalidQuery, parse_filter
from strongroom.visibility.filter.parser import MAX_NESTING, MAX_SYNTAX_BYTES, MAX_TERMS

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES = {"Count": AttributeType.INT, "Customer": AttributeType.KEYWORD}


def filters(share: int = 1) -> Mapping[str, str]:
    """Return the filters. With a share of 2 they are half as long, and so on."""
    size, terms = MAX_SYNTAX_BYTES // share, MAX_TERMS // share
    conditions = size // len("Count=1 OR ")
    ids = ", ".join(f"'order/web/{number:020}'" for number in range(1000 // share))
    return {
        "IN of 1,000 ids": f"Customer IN ({ids})",
        "IN of the most values": f"Count IN ({','.join('1' * terms)})",
        "the longest OR": " OR ".join(["Count=1"] * conditions),
        "the deepest nesting": "(" * MAX_NESTING
        + " AND ".join(["NOT Count=1"] * (conditions // 2))
        + ")" * MAX_NESTING,
        "only opening parentheses (refused)": "(" * size,
        "only NOT (refused)": "NOT " * (size // 4),
        "only commas (refused)": "Count IN (1" + "," * (size - 11),
    }


def worst_cases(share: int = 1, repeats: int = 3) -> dict[str, float]:
    """Return the milliseconds of each parse: the best of several."""
    found = {}
    parse_filter("")  # the grammar is read once
    for name, text in filters(share).items():
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            with suppress(InvalidQuery):
                parse_filter(text, TYPES)
            times.append(1000 * (time.perf_counter() - began))
        found[name] = min(times)
    return found
