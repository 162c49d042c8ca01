"""Random list filters for the attributes of the random records."""

from __future__ import annotations

from datetime import UTC, datetime

from strongroom.visibility import (
    AttributeType,
)
from strongroom.visibility.fields import BUILT_IN
from strongroom.visibility.filter.tree import STATUS_NAMES
from tests.support.visibility.records import CUSTOM, SECOND, TEXTS, value_of, whole


def quoted(text):
    """Return a text as a string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def literal(rng, name, kind):
    """Return a random value as a literal, in one of its spellings."""
    value = value_of(rng, kind)
    if name == "ExecutionStatus":
        code = rng.randint(1, len(STATUS_NAMES))
        return rng.choice((quoted(STATUS_NAMES[code - 1]), str(code)))
    if name == "ExecutionDuration":
        return rng.choice((str(whole(rng)), "'1h30m'", "'00:00:01'", "'-1.5s'", "'250ms'"))
    match kind:
        case AttributeType.BOOL:
            return "TRUE" if value else "false"
        case AttributeType.INT:
            return rng.choice((str(value), str(rng.randint(-20, 20)), f"{rng.uniform(-20, 20):.3f}", "1e3", "-1e300"))
        case AttributeType.DOUBLE:
            return repr(value)
        case AttributeType.DATETIME:
            seconds, rest = divmod(value, SECOND)
            if rng.random() < 0.5 and 0 <= seconds < 4 * 10**9:
                return f"'{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z'"
            return str(value)
        case AttributeType.KEYWORD_LIST:
            return quoted(rng.choice(TEXTS))
        case AttributeType.KEYWORD if rng.random() < 0.3 and value:
            return quoted(value[: rng.randint(1, len(value))])
    return quoted(value)


ORDERED = ("=", "!=", "<", "<=", ">", ">=", "<>")


OPERATORS = {
    AttributeType.KEYWORD: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN", "STARTS_WITH", "NOT STARTS_WITH"),
    AttributeType.KEYWORD_LIST: ("=", "!=", "IN", "NOT IN"),
    AttributeType.TEXT: ("=", "!="),
    AttributeType.INT: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"),
    AttributeType.DOUBLE: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"),
    AttributeType.BOOL: (*ORDERED, "IN", "NOT IN"),
    AttributeType.DATETIME: (*ORDERED, "IN", "NOT IN", "BETWEEN", "NOT BETWEEN"),
}


SEARCHED = {
    **CUSTOM,
    **{
        name: BUILT_IN[name].type
        for name in (
            *(
                "WorkflowId",
                "RunId",
                "WorkflowType",
                "ExecutionStatus",
                "TaskQueue",
                "ParentWorkflowId",
                "RootWorkflowId",
            ),
            *("StartTime", "ExecutionTime", "CloseTime", "HistoryLength", "HistorySizeBytes", "ExecutionDuration"),
            *("StateTransitionCount", "BuildIds", "TemporalSchedulePaused", "TemporalNamespaceDivision"),
        )
    },
}


def condition(rng, name=None, operator=None):
    """Return a random condition."""
    name = name or rng.choice(list(SEARCHED))
    kind = SEARCHED[name]
    operator = operator or rng.choice((*OPERATORS[kind], "IS NULL", "IS NOT NULL"))
    spelt = f"`{name}`" if not name.isascii() else name
    if operator.endswith("NULL"):
        return f"{spelt} {operator}"
    if operator.endswith("BETWEEN"):
        return f"{spelt} {operator} {literal(rng, name, kind)} AND {literal(rng, name, kind)}"
    if operator.endswith("IN"):
        return f"{spelt} {operator} ({', '.join(literal(rng, name, kind) for _ in range(rng.randint(1, 4)))})"
    if operator.endswith("STARTS_WITH") and name == "ExecutionStatus":
        return f"{spelt} {operator} 'Running'"
    return f"{spelt} {operator} {literal(rng, name, kind)}"


def random_filter(rng, depth=0):
    """Return a random filter: conditions in nested AND, OR and NOT."""
    shape = rng.random()
    if depth == 4 or shape < 0.35:
        return condition(rng)
    if shape < 0.55:
        return f"NOT ({random_filter(rng, depth + 1)})"
    parts = [random_filter(rng, depth + 1) for _ in range(rng.randint(2, 3))]
    return "(" + f" {rng.choice(('AND', 'OR'))} ".join(parts) + ")"


def every_condition(rng):
    """Return one condition for each operator of each attribute."""
    return [
        condition(rng, name, operator)
        for name, kind in SEARCHED.items()
        for operator in (*OPERATORS[kind], "IS NULL", "IS NOT NULL")
    ]
