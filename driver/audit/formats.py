"""Audit records in the formats of log collectors. Each format contains the whole record, so that the chain can be verified from it.

| format | standard | the record is in |
|---|---|---|
| `jsonl` | this project (docs/how-to/audit-log.md) | the line |
| `ocsf` | Open Cybersecurity Schema Framework 1.6.0, class API Activity (6003) | `raw_data` |
| `cef` | ArcSight's Common Event Format, version 0 (implementation standard 25) | `rawEvent` |
| `syslog` | RFC 5424 | MSG |
"""

from __future__ import annotations

import re
from datetime import datetime
from importlib.metadata import version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from strongroom.driver.stores import OPERATIONS

from .encoding import ascii_json
from .events import BASE, CHECKPOINT, CODEC, DENIED, INTENT, KEY, OPENED, READ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Format: TypeAlias = "Callable[[Mapping[str, Any], bytes, str], bytes]"
"""Takes the fields of a record, its line and the host that wrote it. Returns a line without a line feed."""

OCSF_VERSION = "1.6.0"
_API_ACTIVITY = 6003
_ACTIVITIES = {"create": 1, "read": 2, "update": 3, "delete": 4}
_OTHER = 99
_READ_VERBS = re.compile(r"(get|list|read|count|find|explain|decode|verify|export|review|check|is|assert)(_|$)")
ENTERPRISE = 32473
"""The private enterprise number that is reserved for documentation (RFC 5612)."""


def jsonl(_fields: Mapping[str, Any], line: bytes, _host: str) -> bytes:
    """Return the record unchanged."""
    return line.rstrip(b"\n")


def ocsf(fields: Mapping[str, Any], line: bytes, host: str) -> bytes:
    """Return a JSON object of the OCSF class API Activity."""
    activity, outcome = _activity(fields), _outcome(fields)
    document = {
        "activity_id": activity,
        "category_uid": 6,
        "class_uid": _API_ACTIVITY,
        "type_uid": _API_ACTIVITY * 100 + activity,
        "time": _milliseconds(fields),
        "severity_id": 3 if outcome == "denied" else 1,
        "status_id": {"done": 1, "failed": 2, "denied": 2}.get(outcome, 0),
        "status_detail": fields.get("error") or fields.get("reason") or outcome,
        "actor": {"user": {"name": _principal(fields)}},
        "api": {
            "operation": _operation(fields),
            "service": {"name": "strongroom"},
            "request": {"uid": str(fields.get("request_id", ""))},
        },
        "src_endpoint": {"name": str(fields.get("source", host)), "hostname": host},
        "metadata": {
            "version": OCSF_VERSION,
            "uid": f"{fields['stream']}/{fields['sequence']}",
            "sequence": fields["sequence"],
            "event_code": fields.get("event"),
            "original_time": fields.get("at"),
            "product": {"name": "Strongroom", "vendor_name": "Strongroom", "version": version("strongroom")},
        },
        "resources": [{"type": "namespace", "uid": str(each)} for each in _namespaces(fields)],
        "unmapped": {name: fields[name] for name in ("arguments", "data_key", "grant") if name in fields},
        "raw_data": line.rstrip(b"\n").decode(),
    }
    return ascii_json(orjson.dumps(document))


def cef(fields: Mapping[str, Any], line: bytes, host: str) -> bytes:
    """Return a line of the Common Event Format."""
    outcome = _outcome(fields)
    header = (
        "Strongroom",
        "strongroom",
        version("strongroom"),
        _operation(fields),
        f"{fields.get('event')} {_operation(fields)}",
        "6" if outcome == "denied" else "3",
    )
    extension = {
        "rt": str(_milliseconds(fields)),
        "externalId": f"{fields['stream']}/{fields['sequence']}",
        "suser": _principal(fields),
        "dvchost": host,
        "act": str(fields.get("event")),
        "outcome": outcome,
        "reason": str(fields.get("error") or fields.get("reason") or ""),
        "shost": str(fields.get("source", "")),
        "cs1Label": "namespaces",
        "cs1": " ".join(_namespaces(fields)),
        "cs2Label": "request",
        "cs2": str(fields.get("request_id", "")),
        "rawEvent": line.rstrip(b"\n").decode(),
    }
    pairs = " ".join(f"{name}={_escaped(value, '=')}" for name, value in extension.items() if value)
    return f"CEF:0|{'|'.join(_escaped(part, '|') for part in header)}|{pairs}".encode()


def syslog(fields: Mapping[str, Any], line: bytes, host: str) -> bytes:
    """Return a message as in RFC 5424, with facility 13 (log audit), the main fields as structured data, and the record as text."""
    severity = 4 if _outcome(fields) == "denied" else 6
    data = {
        "sequence": str(fields["sequence"]),
        "stream": str(fields["stream"]),
        "event": str(fields.get("event")),
        "operation": _operation(fields),
        "principal": _principal(fields),
        "outcome": _outcome(fields),
        "request": str(fields.get("request_id", "")),
    }
    pairs = " ".join(f'{name}="{_quoted(value)}"' for name, value in data.items())
    at, process = fields.get("at") or "-", fields.get("process") or "-"
    head = f"<{13 * 8 + severity}>1 {at} {_word(host, 255)} strongroom {process} {_word(str(fields.get('event')), 32)}"
    return f"{head} [audit@{ENTERPRISE} {pairs}] ".encode() + line.rstrip(b"\n")


FORMATS: Mapping[str, Format] = MappingProxyType({"jsonl": jsonl, "ocsf": ocsf, "cef": cef, "syslog": syslog})


def _operation(fields: Mapping[str, Any]) -> str:
    return str(fields.get("operation") or f"audit.{fields.get('event')}")


def _principal(fields: Mapping[str, Any]) -> str:
    return str(fields.get("principal") or "strongroom")


def _namespaces(fields: Mapping[str, Any]) -> list[str]:
    return [
        str(each) for each in fields.get("namespace_ids", [fields["namespace_id"]] if "namespace_id" in fields else [])
    ]


def _outcome(fields: Mapping[str, Any]) -> str:
    """Return `done`, `failed`, `denied` or `begun`."""
    event = fields.get("event")
    if event == DENIED or fields.get("outcome") == "refused":
        return "denied"
    if event in (OPENED, CHECKPOINT, BASE):
        return "done"
    return "begun" if event in (INTENT, READ) else str(fields.get("outcome", "done"))


def _activity(fields: Mapping[str, Any]) -> int:
    operation = OPERATIONS.get(str(fields.get("operation")))
    if operation is not None:
        return _ACTIVITIES[operation.activity]
    if fields.get("event") in (KEY, CODEC):
        verb = _operation(fields).rpartition(".")[2]
        return _ACTIVITIES["read" if _READ_VERBS.match(verb) or verb in ("wrap", "unwrap") else "update"]
    return _OTHER


def _milliseconds(fields: Mapping[str, Any]) -> int:
    at = fields.get("at")
    return int(datetime.fromisoformat(at).timestamp() * 1000) if isinstance(at, str) else 0


def _escaped(text: str, mark: str) -> str:
    """Escape for CEF: backslashes, `mark`, line ends (as letters) and other control characters (as ?XX)."""
    text = text.replace("\\", "\\\\").replace(mark, "\\" + mark).replace("\r", "\\r").replace("\n", "\\n")
    return _visible(text)


def _visible(text: str) -> str:
    return text if text.isprintable() else "".join(each if each.isprintable() else f"?{ord(each):02x}" for each in text)


def _quoted(text: str) -> str:
    """Escape for structured data (RFC 5424 section 6.3.3)."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return _visible(text)


def _word(text: str, longest: int) -> str:
    """Return the text as a header field of RFC 5424, which has only printable ASCII characters without spaces."""
    return "".join(each if "!" <= each <= "~" else "_" for each in text)[:longest] or "-"
