from __future__ import annotations

import base64
import gzip
import io
import json
import os
import sys
import threading
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from google.protobuf.json_format import MessageToDict
from temporalio.api.history.v1 import History, HistoryEvent

from strongroom.driver.importing import documents as documents_module
from strongroom.driver.importing.errors import ImportFileError
from strongroom.driver.importing.import_file import KEYS, read_import_file
from strongroom.driver.importing.temporal_history import Given

CANARY = "hidden-5c1f0e"
RUN = "6c1a1c1e-0c0b-4c5f-9f60-0a6f0d1e2f30"


@pytest.fixture(scope="module")
def line():
    """The first line of the sample."""
    with gzip.open(str(files("strongroom.driver.demo") / "sample/workflows.jsonl.gz")) as file:
        return orjson.loads(file.readline())


def keyword(value, kind="Keyword"):
    return {
        "metadata": {
            "encoding": base64.b64encode(b"json/plain").decode(),
            "type": base64.b64encode(kind.encode()).decode(),
        },
        "data": base64.b64encode(json.dumps(value).encode()).decode(),
    }


def shown():
    """Return a history as `temporal workflow show --output json` prints it."""
    return {
        "events": [
            {
                "eventId": "1",
                "eventTime": "2026-11-23T18:00:00.123456789Z",
                "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
                "taskId": "1048587",
                "workflowExecutionStartedEventAttributes": {
                    "workflowType": {"name": "OrderWorkflow"},
                    "taskQueue": {"name": "orders", "kind": "TASK_QUEUE_KIND_NORMAL"},
                    "input": {"payloads": [keyword("order")]},
                    "workflowRunTimeout": "0s",
                    "originalExecutionRunId": RUN,
                    "firstExecutionRunId": RUN,
                    "attempt": 1,
                    "firstWorkflowTaskBackoff": "2s",
                    "workflowId": "order/7",
                    "memo": {"fields": {"note": keyword("first"), "gone": keyword(1)}},
                    "searchAttributes": {
                        "indexedFields": {"CustomerId": keyword("c-1"), "Amount": keyword(1.5, "Double")}
                    },
                    "rootWorkflowExecution": {"workflowId": "order/7", "runId": RUN},
                },
            },
            {
                "eventId": "2",
                "eventTime": "2026-11-23T18:00:01Z",
                "eventType": "EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
                "upsertWorkflowSearchAttributesEventAttributes": {
                    "workflowTaskCompletedEventId": "4",
                    "searchAttributes": {"indexedFields": {"CustomerId": keyword("c-2")}},
                },
            },
            {
                "eventId": "3",
                "eventTime": "2026-11-23T18:00:01Z",
                "eventType": "EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED",
                "workflowPropertiesModifiedEventAttributes": {"upsertedMemo": {"fields": {"gone": keyword(None)}}},
            },
            {
                "eventId": "4",
                "eventTime": "2026-11-23T18:00:05Z",
                "eventType": "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED",
                "workflowExecutionCompletedEventAttributes": {"workflowTaskCompletedEventId": "4"},
            },
        ]
    }


def read(tmp_path, content, **options):
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_import_file(path, **options)


def fault(tmp_path, content, **options):
    """Return the message of a refused file, without its path."""
    with pytest.raises(ImportFileError) as caught:
        read(tmp_path, content, **options)
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None
    assert isinstance(caught.value.__context__, EOFError | gzip.BadGzipFile | None), "a parser's error has the document"
    return str(caught.value).replace(str(tmp_path / "file"), "FILE")


def test_a_history_of_temporal_becomes_a_whole_run(tmp_path):
    """The ids, times, status, attributes and memo are those of the events, and each event has its whole message."""
    [found] = read(tmp_path, shown())
    record = found.record
    assert (record.workflow_id, record.run_id, record.workflow_type) == ("order/7", RUN, "OrderWorkflow")
    assert (record.task_queue, record.execution_status) == ("orders", "Completed")
    assert record.start_time % 10**9 == 123456789
    assert record.execution_time - record.start_time == 2 * 10**9
    assert record.close_time - record.execution_time == record.execution_duration == 2_876_543_211
    assert (record.history_length, record.root_workflow_id) == (4, "order/7")
    assert record.search_attributes == {"CustomerId": "c-2", "Amount": 1.5}
    assert orjson.loads(record.memo) == {"note": "first"}
    message = HistoryEvent.FromString(found.events[0].data)
    assert message.task_id == 1048587
    assert MessageToDict(History(events=[HistoryEvent.FromString(each.data) for each in found.events]))["events"][
        3
    ] == {**shown()["events"][3]}


@pytest.mark.parametrize("form", ["pretty", "one line", "pretty CRLF", "BOM", "gzip"])
def test_histories_follow_each_other_in_every_form(tmp_path, form):
    """Several histories are read from one file, pretty-printed or one on a line, with their numbers of lines."""
    other = json.loads(json.dumps(shown()).replace(RUN, RUN.replace("6c1a", "7c1a")))
    texts = [json.dumps(each, indent=2 if form != "one line" else None) for each in (shown(), other)]
    content = "\n".join(texts).encode() + b"\n"
    if form == "pretty CRLF":
        content = content.replace(b"\n", b"\r\n")
    if form == "BOM":
        content = b"\xef\xbb\xbf" + content
    if form == "gzip":
        content = gzip.compress(content[:500]) + gzip.compress(content[500:])
    assert len(read(tmp_path, content)) == 2


def test_an_open_run_and_ids_from_the_command_line(tmp_path):
    """A history without a closing event is of a running run. Ids from the command line are for one history alone."""
    running = {"events": shown()["events"][:3]}
    [found] = read(tmp_path, running, given=Given("order/7", RUN.replace("6c1a", "7c1a")))
    assert (found.record.execution_status, found.record.close_time) == ("Running", None)
    assert (found.record.workflow_id, found.record.run_id[:4]) == ("order/7", "7c1a")
    both = f"{json.dumps(shown())}\n{json.dumps(shown()).replace(RUN, RUN.replace('6c1a', '7c1a'))}".encode()
    assert "one history" in fault(tmp_path, both, given=Given("order/7"))


def test_a_workflow_id_from_the_command_line_replaces_none_in_the_history(tmp_path):
    """A history that names no workflow id gets the given one. One that names another id is refused, without either id."""
    old = shown()
    del old["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"]
    assert "give --workflow-id" in fault(tmp_path, old)
    assert read(tmp_path, old, given=Given("order/8"))[0].record.workflow_id == "order/8"
    assert read(tmp_path, shown(), given=Given("order/7"))[0].record.workflow_id == "order/7"
    message = fault(tmp_path, shown(), given=Given(CANARY))
    assert "the history names another workflow id than --workflow-id" in message
    assert "order/7" not in message


def test_other_documents_of_temporal_are_named(tmp_path, line):
    """The outputs of list and describe, a partial history, and an unknown field are refused with what to do."""
    entry = {"execution": {"workflowId": CANARY, "runId": RUN}, "type": {"name": CANARY}, "status": "x"}
    for document in ([entry], entry):
        assert "temporal workflow list" in fault(tmp_path, json.dumps(document, indent=2).encode())
    assert "temporal workflow describe" in fault(tmp_path, {"workflowExecutionInfo": entry})
    assert "has event id 2" in fault(tmp_path, {"events": shown()["events"][1:]})
    newer = shown()
    newer["events"][1]["colour"] = CANARY
    assert "the field colour" in fault(tmp_path, newer)
    assert "upgrade" in fault(tmp_path, newer)
    wrong = shown()
    wrong["events"][1]["eventType"] = CANARY
    assert "not a history in Temporal's JSON form" in fault(tmp_path, wrong)
    untyped = shown()
    del untyped["events"][0]["workflowExecutionStartedEventAttributes"]["searchAttributes"]["indexedFields"]["Amount"][
        "metadata"
    ]["type"]
    assert "has no type" in fault(tmp_path, untyped)
    assert "leave them out" in fault(tmp_path, line, given=Given("x"))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("workflow_idd", "workflow_idd is not a key of the format; did you mean workflow_id?"),
        ("memos", "did you mean memo?"),
        ("Status", "Status is not a key of the format; did you mean status?"),
        (CANARY, "a key is not a key of the format"),
        ("x", f"the format has {', '.join(KEYS)}"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_known_one(tmp_path, line, name, text):
    """No key is passed over. A key that does not look like one is not shown, because it may be a value."""
    content = b"\n\n" + orjson.dumps({**line, name: CANARY})
    message = fault(tmp_path, content)
    assert message.startswith("FILE: line 3: ")
    assert text in message


def test_a_key_of_a_search_attribute_or_twice_is_refused(tmp_path, line):
    """Unknown keys of search attributes, and a key that is in an object twice, are refused."""
    entry = {"type": "Int", "value": 1, "values": CANARY}
    assert "did you mean value?" in fault(tmp_path, {**line, "search_attributes": {"Count": entry}})
    twice = orjson.dumps(line).decode().replace("{", f'{{"workflow_id": "{CANARY}", ', 1).encode()
    assert "a key twice" in fault(tmp_path, twice)
    assert "a key twice" in fault(
        tmp_path, {**line, "memo": "X"} and orjson.dumps({**line, "memo": "X"}).replace(b'"X"', b'{"a":1,"a":2}')
    )


@pytest.mark.parametrize(
    ("name", "declared", "value", "text"),
    [
        ("TemporalScheduledStartTime", "Int", 1, "TemporalScheduledStartTime is Temporal's own and of type Datetime"),
        ("TemporalExternalPayloadCount", "Datetime", 1, "of type Int"),
        ("BatcherUser", "Text", CANARY, "of type Keyword; declare this type"),
        ("BuildIds", "Text", [CANARY], "of type KeywordList"),
        ("TemporalNamespaceDivision", "KeywordList", CANARY, "of type Keyword"),
    ],
)
def test_a_wrong_type_of_an_attribute_of_temporals_own_is_refused(tmp_path, line, name, declared, value, text):
    """It was ignored if the value fitted the attribute's own type."""
    entry = {"type": declared, "value": value}
    assert text in fault(tmp_path, {**line, "search_attributes": {name: entry}})


@pytest.mark.parametrize("declared", ["KeywordList", "Keyword"])
def test_the_type_of_older_servers_is_accepted_for_a_list(tmp_path, line, declared):
    """Control: the right type is accepted, and so is the one that older servers wrote for a list."""
    entry = {"type": declared, "value": ["1", "2"]}
    (found,) = read(tmp_path, {**line, "search_attributes": {"BuildIds": entry}})
    assert found.record.search_attributes == {"BuildIds": ("1", "2")}
    assert found.attribute_types == {}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf", "the file is empty"),
        (b"\r\n \r\n", "the file is empty"),
        (gzip.compress(b""), "the file is empty"),
        (gzip.compress(b"{}" * 900)[:-9], "truncated or damaged"),
        (b"\x1f\x8b", "truncated or damaged"),
        (b"\x1f\x8b\xff\xff" + bytes(20), "truncated or damaged"),
        (b"\xff\xfe{\x00}\x00", "save it as UTF-8"),
        (b'{"memo": NaN}', "not JSON (column"),
        (b'{"memo": Infinity}', "not JSON (column"),
        (b'{"memo": "\\ud800"}', "not JSON (column"),
        (b"{\n  1\n}\n", "line 2 of the document, column"),
        (b'{\n"memo": 1\n', "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
    ],
    ids=range(16),
)
def test_a_file_that_is_not_whole_or_of_another_form_is_refused(tmp_path, content, text):
    """Each fault of the whole file is named as such, without its content in the error or in its context."""
    assert text in fault(tmp_path, content)


@pytest.mark.parametrize("name", ["eventId", "eventTime", "eventType"])
@pytest.mark.parametrize("value", [None, "", "0"])
def test_an_event_without_its_number_time_or_type_is_refused(tmp_path, name, value):
    """The event is named, and nothing is a defect of the program."""
    history = shown()
    if value is None:
        del history["events"][1][name]
    else:
        history["events"][1][name] = value
    message = fault(tmp_path, history)
    assert "event 2 has" in message or "not a history in Temporal's JSON form" in message


def test_long_lines_and_documents_are_refused(tmp_path, line, monkeypatch):
    """A line or a pretty-printed document over the limit is refused before it is in memory as a whole."""
    monkeypatch.setattr(documents_module, "MAX_LINE_BYTES", 1000)
    assert "longer than 1000 bytes" in fault(tmp_path, line)
    assert "longer than 1000 bytes" in fault(tmp_path, json.dumps(line, indent=2).encode())


def test_a_pipe_and_standard_input_are_read_once(tmp_path, line, monkeypatch):
    """A named pipe, which can't be read twice, and `-` work, also with gzip."""
    content = gzip.compress(orjson.dumps(line))
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    assert len(read_import_file(tmp_path / "pipe")) == 1
    writer.join()
    stdin = io.TextIOWrapper(io.BufferedReader(io.BytesIO(content)))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin.buffer))
    assert len(read_import_file(Path("-"))) == 1
