"""Look up figures in the report's JSON by name. Every figure in a document is looked up here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.lib.measuring import Ratio, median, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def cells(report: dict[str, Any], part: str, key: str = "cells") -> list[dict[str, Any]]:
    """Return the cells that a part measured; an empty list if the report does not have the part."""
    found: list[dict[str, Any]] = report["parts"].get(part, {}).get(key, [])
    return found


def cell(report: dict[str, Any], part: str, key: str = "cells", **place: Any) -> dict[str, Any] | None:
    """Return the cell with these coordinates, or None."""
    return next(
        (each for each in cells(report, part, key) if all(each.get(name) == value for name, value in place.items())),
        None,
    )


def times(found: dict[str, Any] | None, over: str, under: str) -> Ratio | None:
    """Return how many times as long `over` took as `under` in a cell; None if one of them was not measured."""
    if found is None or over not in found["rounds"] or under not in found["rounds"]:
        return None
    return ratio(found["rounds"], over, under)


def nanoseconds(found: dict[str, Any] | None, name: str) -> float | None:
    """Return a contender's median in a cell; None if it was not measured."""
    if found is None or name not in found["rounds"]:
        return None
    return median(found["rounds"][name])


def size_name(size: int) -> str:
    """Return 64 as "64 B", 4096 as "4 KiB"."""
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


def duration(value: float | None) -> str:
    """Return nanoseconds in the unit that leaves one to three digits before the point."""
    if value is None:
        return ""
    for unit, scale in (("ns", 1.0), ("µs", 1e3), ("ms", 1e6)):
        if value < 1000 * scale or unit == "ms":
            number = value / scale
            return f"{number:.0f} {unit}" if number >= 100 or unit == "ns" else f"{number:.3g} {unit}"
    raise AssertionError


def factor(value: Ratio | float | None) -> str:
    """Return a ratio with two or three digits; empty if there is none."""
    if value is None:
        return ""
    number = value.median if isinstance(value, Ratio) else value
    if number < 0.1:
        return f"{number:.2g}"
    return f"{number:.2f}" if number < 10 else f"{number:.1f}" if number < 100 else f"{number:.0f}"


def names_in(found: Iterable[dict[str, Any]]) -> list[str]:
    """Return the contenders of all cells, in the order in which they occur first."""
    return list(dict.fromkeys(name for each in found for name in each["rounds"]))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table. All columns except the first are right-aligned."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
