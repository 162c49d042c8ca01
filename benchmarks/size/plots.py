"""The plot of sizes, from its journal alone. Needs matplotlib."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

PLOT = "size.png"
_KINDS = {"search": "searches", "write": "writes"}
_MARKS = "osD^v<>Xp*hP"


def draw(folder: Path) -> None:
    """Draw the journal of a folder next to it, if there is one: milliseconds of searches and writes by number of rows."""
    journal = folder / "size.jsonl"
    lines = journal.read_text().splitlines()[1:] if journal.exists() else []
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in map(json.loads, lines):
        place = row["place"]
        for kind in _KINDS:
            if kind in place:
                found.setdefault(kind, {}).setdefault(place[kind], []).append((place["rows"], row["figures"]["ms"]))
    if not found:
        return
    figure, axes = plt.subplots(1, len(_KINDS), figsize=(15, 6), layout="constrained", squeeze=False)
    for number, (kind, title) in enumerate(_KINDS.items()):
        panel = axes[0][number]
        for mark, (name, series) in enumerate(found.get(kind, {}).items()):
            rows, milliseconds = zip(*sorted(series), strict=True)
            panel.plot(rows, milliseconds, marker=_MARKS[mark % len(_MARKS)], label=name)
        panel.set(xscale="log", yscale="log", xlabel="rows of a table", ylabel="milliseconds", title=title)
        panel.grid(visible=True, alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(folder / PLOT, dpi=80)
    plt.close(figure)
