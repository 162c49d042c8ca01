"""The plot of searches in large namespaces, from its journal alone. Needs matplotlib."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

PLOT = "search.png"
_KINDS = ("list", "count", "groups")
_INDICES = ("postgres", "elasticsearch")
_MARKS = "osD^v<>Xp*hP"
_WITHIN = 2.0
"""The target of most classes: a multiple of the plaintext copy's time."""


def draw(folder: Path) -> None:
    """Draw the journal of a folder next to it, if there is one: for each index and kind of search, the ratio by number of runs."""
    journal = folder / "search.jsonl"
    lines = journal.read_text().splitlines()[1:] if journal.exists() else []
    found: dict[tuple[str, str], dict[str, list[tuple[int, float]]]] = {}
    for row in map(json.loads, lines):
        place = row["place"]
        kind = next((each for each in _KINDS if each in place), None)
        for index in _INDICES if kind is not None else ():
            if index in row["figures"]:
                series = found.setdefault((index, str(kind)), {}).setdefault(place[kind], [])
                series.append((place["documents"], row["figures"][index][0]))
    if not found:
        return
    figure, axes = plt.subplots(len(_INDICES), len(_KINDS), figsize=(18, 10), layout="constrained", squeeze=False)
    for (index, kind), classes in found.items():
        panel = axes[_INDICES.index(index)][_KINDS.index(kind)]
        for number, (name, series) in enumerate(classes.items()):
            places, ratios = zip(*sorted(series), strict=True)
            panel.plot(places, ratios, marker=_MARKS[number % len(_MARKS)], label=name)
        panel.axhline(_WITHIN, color="black", linestyle="--", linewidth=0.8)
        panel.set(xscale="log", yscale="log", xlabel="runs", title=f"{kind}, {index}, sealed / plain")
        panel.grid(visible=True, alpha=0.3)
        panel.legend(fontsize=8)
    figure.savefig(folder / PLOT, dpi=80)
    plt.close(figure)
