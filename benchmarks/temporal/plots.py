"""The plot of the comparison of Temporal servers, from its journal alone. Needs matplotlib."""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from .tables import GOAL, MUST, PLOT, PROCESSES, SIDES, by_place, medians, ratios

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from pathlib import Path

    from .tables import Rounds

COLOURS = {
    "server": "#2166ac",
    "serve": "#b30000",
    "postgres": "#1b7837",
    "elasticsearch": "#762a83",
    "worker": "#999999",
}


def draw(folder: Path) -> None:
    """Draw the journal of a folder next to it, if there is one."""
    journal = folder / "temporal.jsonl"
    lines = journal.read_text().splitlines()[1:] if journal.exists() else []
    if not lines:
        return
    places = by_place(map(json.loads, lines))
    figure, axes = plt.subplots(1, 3, figsize=(18, 1.5 + 0.5 * len(places)), layout="constrained", sharey=True)
    names = [", ".join(place) for place in places]
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    _ratios(axes[0], list(places.values()), "a second", (MUST, GOAL))
    axes[0].set_title("throughput, sealed / plain")
    _ratios(axes[1], list(places.values()), "task_p99_ms", (1.0,))
    axes[1].set_title("p99 of workflow task latency, sealed / plain")
    _cpu(axes[2], list(places.values()))
    axes[2].set_title("CPU time of a workflow, relative to plain; upper bar sealed")
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(folder / PLOT, dpi=80)
    plt.close(figure)


def _ratios(axes: Any, places: list[Rounds], figure: str, targets: tuple[float, ...]) -> None:
    for y, rounds in enumerate(places):
        values = ratios(rounds, figure)
        if values:
            axes.plot([min(values), max(values)], [y, y], color="#b30000", linewidth=1.5)
            axes.plot(statistics.median(values), y, color="#b30000", marker="o")
    for target in targets:
        axes.axvline(target, color="black", linestyle="--", linewidth=0.8)
    axes.set_xlim(left=0)
    axes.grid(visible=True, alpha=0.3)


def _cpu(axes: Any, places: list[Rounds]) -> None:
    labelled: set[str] = set()
    for y, rounds in enumerate(places):
        plain = sum(medians(rounds, "plain", "cpu_ms", process) or 0.0 for process in PROCESSES) or 1.0
        for side, offset in zip(SIDES, (-0.2, 0.2), strict=True):
            left = 0.0
            for process in PROCESSES:
                value = (medians(rounds, side, "cpu_ms", process) or 0.0) / plain
                label = None if process in labelled or not value else process
                labelled.add(process) if label else None
                axes.barh(y + offset, value, 0.35, left, color=COLOURS[process], label=label)
                left += value
    axes.axvline(1.0, color="black", linestyle="--", linewidth=0.8)
