"""The cost of a filter on one record is bounded: other searches wait while it is evaluated."""

from __future__ import annotations

from strongroom.visibility import AttributeType, VisibilityRecord, matches, parse_filter
from strongroom.visibility.search import evaluate

TYPES = {"Notes": AttributeType.TEXT, "Other": AttributeType.TEXT}


def test_a_text_is_split_once_for_all_conditions_on_it(monkeypatch):
    """Ninety conditions on a text of 32,768 words took a second when each of them split it."""
    split = []
    monkeypatch.setattr(
        evaluate, "split_words", lambda text, original=evaluate.split_words: split.append(text) or original(text)
    )
    record = {"Notes": "some of many words", "Other": "and others"}
    conditions = [f"NOT {name} = 'absent'" for name in ("Notes", "Other") * 45]
    assert matches(parse_filter(" AND ".join(conditions), TYPES).where, record)
    assert sorted(text for text in split if text != "absent") == sorted(record.values())


def test_each_record_has_its_own_words():
    """Records with other texts, or with the same text, are compared by their own words."""
    is_match = evaluate.predicate(parse_filter("Notes = 'b' AND Notes = 'c'", TYPES).where)
    texts = ["a b c", "a b", "b c", "", "b c"]
    assert [is_match(_record(text)) for text in texts] == [True, False, True, False, True]


def _record(text):
    return VisibilityRecord(
        workflow_id="w",
        run_id="00000000-0000-0000-0000-000000000001",
        workflow_type="ship",
        execution_status="Running",
        task_queue="orders",
        start_time=1,
        execution_time=1,
        search_attributes={"Notes": text},
    )
