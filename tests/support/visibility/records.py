"""Random visibility records. Their values come from small pools, so that filters find some of them."""

from __future__ import annotations

import random
import string
from types import MappingProxyType
from uuid import UUID

from strongroom.visibility import (
    AttributeType,
    VisibilityRecord,
)
from strongroom.visibility.filter.tree import STATUS_NAMES

SECOND = 10**9


BASE = 1_795_000_000 * SECOND


INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


CUSTOM = {
    "Customer": AttributeType.KEYWORD,
    "Größe": AttributeType.KEYWORD,
    "Labels": AttributeType.KEYWORD_LIST,
    "Notes": AttributeType.TEXT,
    "Pieces": AttributeType.INT,
    "Price": AttributeType.DOUBLE,
    "Paid": AttributeType.BOOL,
    "Due": AttributeType.DATETIME,
}


TEXTS = (
    "",
    "a",
    "A",
    "ä",
    "a\u0308",
    "日本語",
    "日本語テキスト",
    "o'hara",
    'say "so"',
    "back\\slash",
    "100%_",
    "line\nbreak",
    "\N{GRINNING FACE}",
    "x" * 40,
    "abc",
    "abcä",
    "abcd",
    "order/web/00001",
    "order/web/00002",
    "order/app/00001",
    "order/web/00001/child/of/the/very/long/kind",
)


SENTENCES = (
    "",
    "...",
    "leave with neighbour, please",
    "Leave At The DOOR",
    "zwei Wörter",
    "don't",
    "日本 語",
    "version 1.2.3",
    "a",
)


WHOLE = (
    INT64_MIN,
    INT64_MIN + 1,
    -(2**53) - 1,
    -17,
    -16,
    -15,
    -1,
    0,
    1,
    15,
    16,
    17,
    100,
    2**53 + 1,
    INT64_MAX - 1,
    INT64_MAX,
)


DECIMAL = (
    0.0,
    -0.0,
    1.00005,
    1.0000499999,
    0.1 + 0.2,
    3.14159265358979,
    -2.71828182845905,
    1e-9,
    -0.00005,
    1e17,
    -1e300,
    3,
    -7,
)


MOMENTS = (BASE, BASE + 1, BASE + SECOND - 1, BASE + SECOND, BASE - 1, BASE + 5 * SECOND + 123_456_789)


TIMES = (*MOMENTS, 0, -1, 1, SECOND - 1, INT64_MIN, INT64_MAX, -SECOND)


def generator():
    """Return a random generator. The seed that pytest prints repeats its choices."""
    return random.Random(random.getrandbits(64))  # noqa: S311 - test data


def whole(rng):
    """Draw an integer of 64 bits."""
    return rng.choice((rng.choice(WHOLE), rng.randint(-50, 50), rng.randint(-(2 ** rng.randint(1, 63)), 2**63 - 1)))


def value_of(rng, kind):
    """Draw a value of a type: usually from a small pool, so that filters find something."""
    match kind:
        case AttributeType.KEYWORD:
            return rng.choice((*TEXTS, "".join(rng.choices(string.ascii_letters, k=3))))
        case AttributeType.KEYWORD_LIST:
            return tuple(rng.choices(TEXTS, k=rng.randint(0, 3)))
        case AttributeType.TEXT:
            return rng.choice(SENTENCES)
        case AttributeType.INT:
            return whole(rng)
        case AttributeType.DOUBLE:
            return rng.choice(
                (rng.choice(DECIMAL), rng.uniform(-10, 10), rng.uniform(-1, 1) * 10 ** rng.randint(-6, 20))
            )
        case AttributeType.BOOL:
            return rng.random() < 0.5
        case AttributeType.DATETIME:
            return rng.choice((rng.choice(TIMES), rng.randint(BASE - SECOND, BASE + SECOND)))


def changed(record, **values):
    """Return a record with some values changed."""
    return record._replace(**values)


OF_CLOSED_RUNS = ("close_time", "execution_duration", "history_length", "history_size_bytes", "state_transition_count")


def opened_again(record):
    """Return the record of an open run, with the other values unchanged."""
    return record._replace(execution_status="Running", **dict.fromkeys(OF_CLOSED_RUNS))


def generated_record(rng):
    """Draw a record. Many records share a second of start or close, a workflow id, or a value."""
    status = rng.choice(STATUS_NAMES)
    is_open = status in {"Running", "Paused"}
    start = rng.choice(MOMENTS) + rng.choice((0, 0, 1, -SECOND))
    attributes = {name: value_of(rng, kind) for name, kind in CUSTOM.items() if rng.random() < 0.7}
    if rng.random() < 0.2:
        attributes["TemporalNamespaceDivision"] = rng.choice(("division", "", "TemporalScheduler"))
    if rng.random() < 0.3:
        attributes["BuildIds"] = value_of(rng, AttributeType.KEYWORD_LIST)
    if rng.random() < 0.3:
        attributes["TemporalSchedulePaused"] = rng.random() < 0.5
    workflow_id, run_id = rng.choice(TEXTS) or "w", str(UUID(int=rng.getrandbits(128)))
    return VisibilityRecord(
        workflow_id=workflow_id,
        run_id=run_id,
        workflow_type=rng.choice(TEXTS),
        execution_status=status,
        task_queue=rng.choice(TEXTS),
        start_time=start,
        execution_time=rng.choice((start, rng.choice(TIMES))),
        close_time=None if is_open else rng.choice(TIMES if rng.random() < 0.2 else MOMENTS),
        execution_duration=None if is_open else whole(rng),
        history_length=None if is_open else rng.choice((1, 15, 16, 17, 500)),
        history_size_bytes=None if is_open else whole(rng),
        state_transition_count=None if is_open else rng.randint(0, 20),
        parent_workflow_id=rng.choice((None, *TEXTS)),
        parent_run_id=rng.choice((None, str(UUID(int=rng.getrandbits(4))))),
        root_workflow_id=rng.choice((None, workflow_id, rng.choice(TEXTS))),
        root_run_id=rng.choice((None, run_id, str(UUID(int=rng.getrandbits(2))))),
        search_attributes=MappingProxyType(attributes),
        memo=rng.randbytes(rng.choice((0, 10, 300))),
    )
