"""Write the tables and the plots of the journals, from their files alone: `python -m benchmarks.lib.journals`. Nothing is typed in."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.leakage import tables as leakage
from benchmarks.lib.figures import table
from benchmarks.temporal.tables import PLOT, tables

FOLDER = Path(__file__).parents[1] / "report"
TITLES = {
    "persistence": "The stores: Temporal's Go store, sealed, and with keys that seal nothing",
    "audit": "Authorisation and audit: bare stores, a session without its log, and a session",
    "row_level_security": "Row-level security: operations a second as the services' role and as the owner",
    "freshness": "Finding older rows: CPU and WAL of a call with and without its parts, and `strongroom verify`",
    "bridge": "Where the time goes: CPU time of `strongroom serve` for a call, and the study's",
    "leakage": "Leakage: what a thief recovers from the index, by preset",
    "temporal": "A Temporal server: sealed, and on its own PostgreSQL stores",
    "visibility": "Visibility: sealed divided by plaintext, and the plaintext's milliseconds",
    "search": "Search in large namespaces: sealed divided by plaintext, end to end, and the plaintext's milliseconds",
    "size": "Size: searches, writes, verification and bytes by the number of rows",
    "many_namespaces": "Many namespaces: a process that opens a cell and lists its namespaces",
    "churn": "Churn: bytes of a table whose rows were replaced, divided by its bytes after VACUUM FULL",
}
PLOTS = {"temporal": PLOT, "search": "search.png", "size": "size.png"}
RATIOS = {
    "persistence": (("sealed", "temporal"), ("sealed", "plain")),
    "audit": (("logged", "bare"), ("unlogged", "bare")),
    "row_level_security": (("row_level_security", "owner"),),
    "freshness": (("checked", "nothing"), ("checked", "no entries"), ("again", "checked")),
}
"""The contenders whose operations a second, or CPU time of client and server, are divided, round by round."""


def section(name: str, lines: list[dict[str, Any]]) -> str:
    """Return the title, the conditions and the tables of a journal; one table for each kind of place."""
    head, rows = lines[0], lines[1:]
    at = head["conditions"]
    of = {"commit": head["commit"]} if "commit" in head else {}  # the oldest figures do not name theirs
    told = ", ".join(f"{key} {value}" for key, value in (of | head["settings"]).items())
    place = f"{at['processor']}, {at['cores']} cores, CPython {at['python']}"
    parts = [
        f"## {TITLES[name]}",
        f"{place}, {at['sealed_with']}; load at the start {at['load_before']:.1f}; {told}.",
    ]
    if name == "leakage":
        return "\n\n".join([*parts, *leakage.tables(rows)])
    if name == "temporal":
        return "\n\n".join([*parts, *tables(rows)])
    kinds: dict[tuple[str, ...], dict[tuple[Any, ...], list[dict[str, float]]]] = {}
    for row in rows:
        place = {key: value for key, value in row["place"].items() if key != "round"}
        of_place = kinds.setdefault(tuple(place), {}).setdefault(tuple(place.values()), [])
        of_place.append(ratios(name, row["figures"]) | flat(row["figures"]))
    for columns, places in kinds.items():
        figures = list(dict.fromkeys(key for rounds in places.values() for each in rounds for key in each))
        body = [
            [
                *map(str, place),
                str(len(rounds)),
                *(shown([each[key] for each in rounds if key in each]) for key in figures),
            ]
            for place, rounds in places.items()
        ]
        parts.append(table([*columns, "rounds", *figures], body))
    return "\n\n".join(parts)


def ratios(name: str, figures: Any) -> dict[str, float]:
    """Return the ratios of the contenders' operations a second, or of their CPU time, in one round."""
    rates = {key: _rate(each) for key, each in (figures.items() if isinstance(figures, dict) else ())}
    return {
        f"{over} / {under}": rates[over] / rates[under]
        for over, under in RATIOS.get(name, ())
        if over in rates and under in rates
    }


def _rate(figures: Any) -> Any:
    if isinstance(figures, dict) and "operations" in figures:
        return figures["operations"] / figures["seconds"]
    if isinstance(figures, dict) and "client_us" in figures:
        return figures["client_us"] + figures["server_us"]
    return figures


def flat(figures: Any, prefix: str = "") -> dict[str, float]:
    """Return figures as one level of names: operations and seconds of a contender become its operations a second."""
    if isinstance(figures, int | float):
        return {prefix or "figure": figures}
    if isinstance(figures, list):
        return {f"{prefix} ({name})": value for name, value in zip(("ratio", "plain ms"), figures, strict=True)}
    if "operations" in figures:
        rest = {f"{prefix} {key}": figures[key] for key in ("p99_ms", "client_cpu_us")}
        return {f"{prefix} a second": figures["operations"] / figures["seconds"], **rest}
    return {
        name: value for key, each in figures.items() for name, value in flat(each, f"{prefix} {key}".strip()).items()
    }


def shown(values: list[float]) -> str:
    """Return the median with its range over the rounds."""
    if not values:
        return ""
    median = number(statistics.median(values))
    return median if len(values) == 1 else f"{median} ({number(min(values))}-{number(max(values))})"


def number(value: float) -> str:
    """Return a figure with three significant digits, and with all digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def render(folder: Path) -> str:
    """Return the text of all journals in a folder."""
    parts = ["# Benchmarks of the stores and of visibility", "Medians, with the range of the rounds in brackets."]
    for name, title in TITLES.items():
        file = folder / f"{name}.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        parts.append(section(name, [json.loads(line) for line in lines]) if lines else f"## {title}\n\nNot measured.")
        if name in PLOTS and (folder / PLOTS[name]).exists():
            parts.append(f"![{title}]({PLOTS[name]})")
    return "\n\n".join(parts) + "\n"


def draw(folder: Path) -> None:
    """Draw the plots of servers, searches and sizes, if matplotlib is installed."""
    try:
        from benchmarks.size import plots as sizes  # noqa: PLC0415 - the tables do not need matplotlib
        from benchmarks.temporal import plots  # noqa: PLC0415
        from benchmarks.visibility import plots as searches  # noqa: PLC0415
    except ModuleNotFoundError as error:
        print(f"no plot: {error.name} is not installed", file=sys.stderr)
    else:
        plots.draw(folder)
        searches.draw(folder)
        sizes.draw(folder)


if __name__ == "__main__":
    draw(FOLDER)
    (FOLDER / "stores.md").write_text(render(FOLDER))
    print(FOLDER / "stores.md")
