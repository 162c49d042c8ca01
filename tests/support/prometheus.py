"""The page's alert rules, evaluated by promtool on what a scrape of the real exporter returned."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import orjson
from prometheus_client.parser import text_string_to_metric_families

from tests.support.services.catalogue import PROMTOOL
from tests.support.services.choice import ServiceMissing
from tests.support.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PAGE = ROOT / "docs" / "how-to" / "telemetry.md"
_UNPACKED = ROOT / ".tools" / "prometheus" / "usr" / "bin"
_COUNTERS = ("_total", "_count", "_sum", "_bucket")
_QUIET = 1500
"""Minutes before the cause of an alert. They are more than a day, which is the longest window of a rule."""


def find_promtool() -> str | None:
    """Return the path of promtool; None if it is not installed."""
    return shutil.which("promtool") or shutil.which("promtool", path=_UNPACKED)


def needed_promtool() -> str:
    """Return the path of promtool.

    Raises:
        ServiceMissing: It is not installed.
    """
    found = find_promtool()
    if found is None:
        raise ServiceMissing(PROMTOOL, ["no program promtool"])
    return found


def rules() -> str:
    """Return the rules on the page, as a file of Prometheus."""
    (block,) = re.findall(r"```yaml\n(groups:.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return block


def alerts() -> Mapping[str, str]:
    """Return the expressions of the rules on the page, by name."""
    return dict(re.findall(r"- alert: (\w+)\n\s+expr: (.*?)(?:  #.*)?\n", rules()))


def samples(scrape: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Yield name, labels and value of each sample of a scrape."""
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def holds(expression: str, scrape: str) -> bool:
    """Return whether a rule's expression holds for a scrape of a process whose counters began at 0.

    The expression must be a sum or maximum compared with a number. Of a rule about a counter the first part is evaluated.
    """
    match = re.fullmatch(
        r"(sum|max)\((?:increase\()?(\w+)(\{.*?\})?(?:\[\w+\]\))?\) > ([\d.]+)", expression.partition(" or ")[0]
    )
    assert match, expression
    function, name, selector, limit = match.groups()
    conditions = re.findall(r'(\w+)(!?=)"([^"]*)"', selector or "")
    values = [
        value
        for sample, labels, value in samples(scrape)
        if sample == name
        and all((labels.get(label, "") == wanted) == (kind == "=") for label, kind, wanted in conditions)
    ]
    return bool(values) and {"sum": sum, "max": max}[function](values) > float(limit)


def fires(alert: str, expressions: Mapping[str, str], scrape: str, folder: Path) -> bool:
    """Return whether promtool fires an alert for a process that returned this scrape, and whose metrics were not there before.

    Args:
        alert: The name of the alert.
        expressions: The expressions by alert, which replace those on the page.
        scrape: The text of the scrape. If the alert has a duration (`for`), its counters grow by their values every minute.
        folder: A folder for files.
    """
    content = rules()
    for name, expression in expressions.items():
        content = content.replace(alerts()[name], expression)
    duration = int((re.findall(rf"alert: {alert}\n.*\n\s+for: (\d+)m", content) or ["0"])[0])
    series = [
        {"series": f"{name}{_braced(labels)}", "values": f"_x{_QUIET} {_values(name, value, grows=duration > 0)}"}
        for name, labels, value in samples(scrape)
        if name in expressions.get(alert, alerts()[alert])
    ]
    return evaluate(alert, series, at=_QUIET + 1 + duration + 1, content=content, folder=folder)


def evaluate(alert: str, series: list[dict[str, str]], *, at: int, content: str, folder: Path) -> bool:
    """Return whether promtool fires an alert for series with a value for each minute.

    Args:
        alert: The name of the alert.
        series: The series, as in a test file of promtool.
        at: The minute of the evaluation.
        content: The rules.
        folder: A folder for files.
    """
    (folder / "rules.yml").write_text(content)
    query = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    expected = {"expr": query, "eval_time": f"{at}m", "exp_samples": [{"labels": "{}", "value": 1}]}
    test = {"interval": "1m", "input_series": series, "promql_expr_test": [expected]}
    (folder / "test.yml").write_bytes(
        orjson.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]})
    )
    done = subprocess.run(
        [needed_promtool(), "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or "got:" in done.stdout + done.stderr, done.stdout + done.stderr
    return done.returncode == 0


def _values(name: str, value: float, *, grows: bool) -> str:
    step = value if grows and name.endswith(_COUNTERS) else 0
    return f"{value}+{step}x60"


def _braced(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{name}={orjson.dumps(value).decode()}" for name, value in labels.items()) + "}"
