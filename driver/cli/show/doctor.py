"""Print the findings of the doctor."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from strongroom.driver.doctor import summary

from .output import json_wanted, line, result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.driver.doctor import Finding

    from .output import Style

_MARKS: dict[str, tuple[str, Style]] = {
    "ok": ("ok", "green"),
    "note": ("note", "yellow"),
    "wrong": ("WRONG", "red"),
    "skipped": ("skipped", "dim"),
}
_WIDTH = 2 + max(len(mark) for mark, _ in _MARKS.values())


def findings(found: Sequence[Finding]) -> None:
    """Print findings by group, each with its advice, and a summary at the end."""
    if json_wanted():
        result({"ok": all(each.ok for each in found), "findings": found, "summary": summary(found)})
        return
    for group, members in groupby(found, key=lambda finding: finding.group):
        line(group, style="bold")
        for finding in members:
            mark, style = _MARKS[finding.state]
            line(f"{finding.check}: {finding.text}", label=f"  {mark:<{_WIDTH}}", style=style)
            if finding.advice:
                line(f"do: {finding.advice}", label=" " * (_WIDTH + 4))
    line()
    line(summary(found))
