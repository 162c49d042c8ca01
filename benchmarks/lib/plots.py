"""Draw the report's plots from its JSON alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from PIL import Image

from benchmarks.lib.figures import cell, cells, names_in, nanoseconds, size_name, times
from benchmarks.lib.part import SIZES
from benchmarks.sealing.contenders import bare_loop, hand_written
from benchmarks.sealing.contenders.names import ASHERAH, LIMIT, NATIVE, PYTHON, TINK
from benchmarks.sealing.end_to_end import LONGER, PLAINTEXT
from benchmarks.sealing.latency import AS_STORE, ON_LOOP

mpl.use("Agg")
from matplotlib import pyplot as plt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

HAND, BARE = hand_written.NAME, bare_loop.NAME
STYLES = {
    NATIVE: {"color": "#b30000", "linewidth": 2.6, "marker": "o"},
    PYTHON: {"color": "#e08214", "linewidth": 2.6, "marker": "o"},
    LIMIT: {"color": "black", "linestyle": "--"},
    HAND: {"color": "#555555", "linewidth": 2.0},
    BARE: {"color": "#999999", "linestyle": "--"},
    TINK: {"color": "#2166ac"},
    ASHERAH: {"color": "#762a83"},
    PLAINTEXT: {"color": "#1b7837", "linewidth": 2.0},
}
TITLES = {
    "speed.png": "Times as fast as the hand-written loop, batch 100",
    "share.png": "Share of AWS-LC's own speed, batch 100",
    "batch.png": "CPU time of a row of 256 B by batch",
    "row_size.png": "Throughput by row size, batch 100",
    "end_to_end.png": "1,000 rows into and out of PostgreSQL, time as a multiple of plaintext",
    "namespaces.png": "CPU time of a row by number of namespaces",
    "threads.png": "Throughput by number of threads",
    "growth.png": "Wall time of a row as the table grows",
    "latency.png": "Event loop's delay while 100,000 rows are sealed",
}


def draw(report: dict[str, Any], folder: Path) -> dict[str, str]:
    """Write the plots of all parts that were measured; return the plots' titles by file name."""
    drawers: dict[str, Callable[[dict[str, Any]], Any]] = {
        "speed.png": _speed,
        "share.png": _share,
        "batch.png": _batch,
        "row_size.png": _row_size,
        "end_to_end.png": _end_to_end,
        "namespaces.png": _namespaces,
        "threads.png": _threads,
        "growth.png": _growth,
        "latency.png": _latency,
    }
    drawn = {}
    for name, drawer in drawers.items():
        figure = drawer(report)
        if figure is None:
            continue
        figure.suptitle(TITLES[name])
        figure.savefig(folder / name, dpi=80)
        plt.close(figure)
        Image.open(folder / name).convert("RGB").quantize(48).save(
            folder / name, optimize=True
        )  # a fourth of the bytes
        drawn[name] = TITLES[name]
    return drawn


def _line(axes: Axes, name: str, places: Sequence[Any], values: Sequence[float | None]) -> None:
    points = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **({"label": name, "marker": "."} | STYLES.get(name, {})))


def _by_size(axes: Axes, label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(SIZES, [size_name(size) for size in SIZES])
    axes.set_xlabel("row")
    axes.set_ylabel(label)
    axes.grid(visible=True, alpha=0.3)


def _pair(titles: Sequence[str]) -> tuple[Any, Any]:
    return plt.subplots(1, len(titles), figsize=(max(10.0, 6.5 * len(titles)), 5), layout="constrained", squeeze=False)


def _legend(figure: Any) -> None:
    """Put one legend for all axes next to them."""
    entries = {name: line for axes in figure.axes for line, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(entries.values(), entries.keys(), loc="outside right center", fontsize=8)


def _sized(report: dict[str, Any], operation: str, batch: int = 100) -> list[dict[str, Any] | None]:
    return [cell(report, "batches", operation=operation, size=size, batch=batch) for size in SIZES]


def _sealed_and_opened(
    names: Iterable[str],
    places: Sequence[int | str],
    values: Callable[[str, str], Sequence[float | None]],
    finish: Callable[[Any], object],
) -> Any:
    """Plot a line for each contender, sealing on the left and opening on the right.

    Args:
        names: The names of the contenders. The second entry of the hand-written loop is left out.
        places: The positions of the values on the axis.
        values: Function that returns the values for an operation and a contender.
        finish: Function that labels the axes.
    """
    figure, (both,) = _pair(("seal", "open"))
    for axes, operation in zip(both, ("seal", "open"), strict=True):
        for name in names:
            if name != hand_written.AGAIN:
                _line(axes, name, places, values(operation, name))
        finish(axes)
        axes.set_title(operation)
    _legend(figure)
    return figure


def _ratios(report: dict[str, Any], over: str) -> Callable[[str, str], list[float | None]]:
    """Return a function of operation and contender. It returns, for each size, the time of `over` divided by the contender's."""

    def values(operation: str, name: str) -> list[float | None]:
        found = [times(each, over, name) for each in _sized(report, operation)]
        return [each.median if each else None for each in found]

    return values


def _speed(report: dict[str, Any]) -> Any:
    found = cells(report, "batches")
    if not found:
        return None

    def finish(axes: Any) -> None:
        _by_size(axes, "times as fast")
        axes.set_yscale("log")

    return _sealed_and_opened(names_in(found), SIZES, _ratios(report, HAND), finish)


def _share(report: dict[str, Any]) -> Any:
    if not any(LIMIT in each["rounds"] for each in cells(report, "batches")):
        return None

    def finish(axes: Any) -> None:
        _by_size(axes, "share of AWS-LC's speed")
        axes.set_ylim(0, 1.1)

    return _sealed_and_opened((NATIVE, PYTHON, BARE, HAND, TINK, ASHERAH), SIZES, _ratios(report, LIMIT), finish)


def _batch(report: dict[str, Any]) -> Any:
    found = cells(report, "batches")
    if not found:
        return None
    batches = sorted({each["batch"] for each in found})

    def values(operation: str, name: str) -> list[float | None]:
        return [
            nanoseconds(cell(report, "batches", operation=operation, size=256, batch=batch), name) for batch in batches
        ]

    def finish(axes: Any) -> None:
        axes.set(yscale="log", ylabel="ns a row", xlabel="rows a call")
        axes.grid(visible=True, alpha=0.3)

    return _sealed_and_opened(names_in(found), list(map(str, batches)), values, finish)


def _row_size(report: dict[str, Any]) -> Any:
    found = cells(report, "batches")
    if not found:
        return None

    def values(operation: str, name: str) -> list[float | None]:
        taken = [nanoseconds(each, name) for each in _sized(report, operation)]
        return [size / each * 1e3 if each else None for size, each in zip(SIZES, taken, strict=True)]

    def finish(axes: Any) -> None:
        _by_size(axes, "MB/s")
        axes.set_yscale("log")

    return _sealed_and_opened(names_in(found), SIZES, values, finish)


def _end_to_end(report: dict[str, Any]) -> Any:
    found = cells(report, "end_to_end")
    if not found:
        return None
    figure, (both,) = _pair(("COPY", "SELECT"))
    names = [name for name in names_in(found) if name != PLAINTEXT]
    for axes, operation in zip(both, ("COPY", "SELECT"), strict=True):
        sizes = [each["size"] for each in found if each["operation"] == operation]
        width = 0.8 / len(names)
        for number, name in enumerate(names):
            ratios = [
                times(cell(report, "end_to_end", operation=operation, size=size), name, PLAINTEXT) for size in sizes
            ]
            color = STYLES.get(name, {}).get("color", "#cccccc" if name == LONGER else "#dddddd")
            places = [place + number * width for place in range(len(sizes))]
            axes.bar(places, [each.median if each else 0 for each in ratios], width, label=name, color=color)
        axes.set_xticks([place + 0.4 - width / 2 for place in range(len(sizes))], [size_name(size) for size in sizes])
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set_title(operation)
    _legend(figure)
    return figure


def _namespaces(report: dict[str, Any]) -> Any:
    found = cells(report, "scale", "namespaces")
    if not found:
        return None
    figure, ((axes,),) = _pair(("",))
    for each in found:
        counts = list(each["rounds"])
        style = STYLES.get(each["contender"], {}) | ({"linestyle": ":"} if each["operation"] == "open" else {})
        values = [nanoseconds(each, count) for count in counts]
        axes.plot([int(count) for count in counts], values, label=f"{each['contender']}, {each['operation']}", **style)
    axes.set(xscale="log", xlabel="namespaces", ylabel="ns a row of 256 B, ten rows a request")
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    _legend(figure)
    return figure


def _threads(report: dict[str, Any]) -> Any:
    found = cells(report, "scale", "threads")
    if not found:
        return None
    sizes = sorted({each["size"] for each in found})
    figure, (all_axes,) = _pair(sizes)
    for axes, size in zip(all_axes, sizes, strict=True):
        for each in found:
            if each["size"] == size:
                counts = list(each["rounds"])
                values = [size / (nanoseconds(each, count) or 1) * 1e3 for count in counts]
                _line(axes, each["contender"], counts, values)
        axes.set(title=size_name(size), xlabel="threads", ylabel="MB/s sealed")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
    _legend(figure)
    return figure


def _growth(report: dict[str, Any]) -> Any:
    found = cells(report, "growth")
    if not found:
        return None
    operations = sorted({each["operation"] for each in found})
    figure, (all_axes,) = _pair(operations)
    for axes, operation in zip(all_axes, operations, strict=True):
        mine = [each for each in found if each["operation"] == operation]
        for name in mine[0]["ns_a_row"]:
            _line(axes, name, [each["rows"] for each in mine], [each["ns_a_row"][name] / 1e3 for each in mine])
        axes.set(title=operation, xscale="log", xlabel="rows in the table", ylabel="µs a row")
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
    _legend(figure)
    return figure


def _latency(report: dict[str, Any]) -> Any:
    found = cells(report, "latency")
    if not found:
        return None
    figure, ((axes,),) = _pair(("",))
    for contender in dict.fromkeys(each["contender"] for each in found):
        for where, line in ((AS_STORE, "-"), (ON_LOOP, ":")):
            mine = [each for each in found if each["contender"] == contender and each["where"] == where]
            style = STYLES.get(contender, {}) | {"linestyle": line}
            axes.plot(
                [str(each["chunk"]) for each in mine],
                [each["p99_ms"] for each in mine],
                label=f"{contender}, {where}",
                **style,
            )
    axes.axhline(5, color="black", linewidth=0.8, linestyle="--")
    axes.set(xlabel="rows a turn", ylabel="p99 of the delay, ms", yscale="log")
    axes.grid(visible=True, alpha=0.3)
    _legend(figure)
    return figure
