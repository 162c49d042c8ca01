"""Print the findings of the doctor."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from strongroom.driver.doctor import summary

from .output import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.driver.doctor import Finding

_MARKS = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "wrong": "[bold red]WRONG[/]", "skipped": "[dim]skipped[/]"}


def findings(found: Sequence[Finding]) -> None:
    """Print findings by group, each with its advice, and a summary at the end."""
    widths = (2 + max(map(len, _MARKS)), max(len(finding.check) for finding in found), None)
    for group, members in groupby(found, key=lambda finding: finding.group):
        console.print(f"[bold]{escape(group)}[/]")
        grid = Table.grid(padding=(0, 2))
        for width in widths:
            grid.add_column(overflow="fold", min_width=width)
        for finding in members:
            grid.add_row(f"  {_MARKS[finding.state]}", escape(finding.check), escape(finding.text))
            if finding.advice:
                grid.add_row("", "", f"[bold]do:[/] {escape(finding.advice)}")
        console.print(grid)
    console.print()
    console.print(summary(found))
