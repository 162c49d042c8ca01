"""Render the report's text from its JSON alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.lib import sections
from benchmarks.lib.figures import cell, cells, duration, factor, names_in, nanoseconds, size_name, table, times
from benchmarks.lib.part import SIZES
from benchmarks.lib.targets import MISSED, UNKNOWN, targets
from benchmarks.sealing.contenders import hand_written
from benchmarks.sealing.contenders.names import NATIVE, PYTHON
from benchmarks.sealing.end_to_end import PLAINTEXT

if TYPE_CHECKING:
    from benchmarks.lib.measuring import Ratio

HAND = hand_written.NAME
METHOD = (
    "Contenders take turns in one process, in an order that changes from round to round. Sealing and opening are CPU time of "
    "the process, results kept while the clock runs; what goes to PostgreSQL is wall time, server included. A ratio is "
    "the median of the ratios of each round, with the least and the greatest in brackets."
)


def document(report: dict[str, Any], plots: dict[str, str]) -> str:
    """Return the whole report; `plots` are titles by file name."""
    parts = [
        "# Benchmark report",
        conditions(report),
        "## Targets",
        targets_table(report),
        "## Plots",
        "\n\n".join(f"![{title}]({name})" for name, title in plots.items()) or "None: matplotlib is not installed.",
        "## Seal and open",
        batches(report),
        "## Where the time goes, and what was tried",
        sections.remainder(report),
        "## Who takes part",
        contenders(report),
        "## End to end",
        sections.end_to_end(report),
        sections.stores(report),
        sections.visibility(report),
        "## Event loop, memory",
        sections.latency(report),
        sections.memory(report),
        "## Scale",
        sections.scale(report),
        sections.growth(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(report: dict[str, Any]) -> str:
    """Return the date, machine and method of the report, in one sentence."""
    where = next(iter(report["parts"].values()))["conditions"]
    kind = "a quick run, whose figures are rough" if report["quick"] else "a full run"
    changed = " with uncommitted changes" if report["changed"] else ""
    return (
        f"Measured on {report['made']} at commit {report['commit']}{changed}, {kind}: {where['cores']} cores of an "
        f"{where['processor']}, CPython {where['python']}, cryptography {where['cryptography']}."
    )


def conditions(report: dict[str, Any]) -> str:
    """Return the conditions that the figures depend on, and the size of the noise."""
    lines = [
        "Written by `make bench` from `report.json`, which has every round; no figure here was typed in. "
        + summary(report),
        METHOD,
    ]
    worst: list[tuple[float, str, Ratio]] = []
    for each in cells(report, "batches"):
        noise = times(each, hand_written.AGAIN, HAND)
        if noise is not None:
            place = f"{each['operation']}, {size_name(each['size'])} x {each['batch']}"
            worst.append((abs(noise.median - 1), place, noise))
    if worst:
        _, place, noise = max(worst)
        lines.append(
            f"Noise: the hand-written loop takes part twice. In the worst of {len(worst)} cells ({place}) it took {noise} "
            "times as long as itself."
        )
    rows = [
        (
            name,
            "both" if name == "memory" else part["conditions"]["heap"],
            *(f"{part['conditions'][key]:.1f}" for key in ("load_before", "load_after")),
        )
        for name, part in report["parts"].items()
    ]
    lines.append(table(("part", "heap (allocator)", "load before", "load after"), rows))
    lines += [f"**Left out:** {name}: {why}." for name, why in report["absent"].items()]
    return "\n\n".join(lines)


def targets_table(report: dict[str, Any]) -> str:
    """Return each target with its measured figure."""
    found = targets(report)
    missed = sum(each.verdict == MISSED for each in found)
    unknown = sum(each.verdict == UNKNOWN for each in found)
    head = f"{len(found) - missed - unknown} met, {missed} missed, {unknown} not measured; by the median."
    rows, last = [], ""
    for each in found:
        sign = "at least" if each.at_least else "at most"
        what = each.what if each.what != last else ""
        last = each.what
        shown = f"{each.shown}{each.unit}" if each.measured is not None else ""
        rows.append((what, each.where, f"{sign} {each.wanted:g}{each.unit}", shown, each.verdict))
    return head + "\n\n" + table(("what", "where", "wanted", "measured", ""), rows)


def speedups(report: dict[str, Any], operation: str, batch: int) -> dict[str, list[str]]:
    """Return the speed of each contender relative to the hand-written loop, by size."""
    names = names_in(cells(report, "batches"))
    found = [cell(report, "batches", operation=operation, size=size, batch=batch) for size in SIZES]
    return {name: [factor(times(each, HAND, name)) for each in found] for name in names}


def batches(report: dict[str, Any]) -> str:
    """Return a table of times and one of ratios for each operation and batch."""
    names, parts = names_in(cells(report, "batches")), []
    for batch in sorted({each["batch"] for each in cells(report, "batches")}):
        for operation in ("seal", "open"):
            found = {size: cell(report, "batches", operation=operation, size=size, batch=batch) for size in SIZES}
            head = ("", *map(size_name, SIZES))
            how = "one row a call" if batch == 1 else f"batch {batch}"
            times_ = [(name, *(duration(nanoseconds(found[size], name)) for size in SIZES)) for name in names]
            ratios = [(name, *row) for name, row in speedups(report, operation, batch).items() if name != HAND]
            parts += [
                f"### {operation.capitalize()}, {how}",
                "CPU time a row:",
                table(head, times_),
                "Times as fast as the hand-written loop:",
                table(head, ratios),
            ]
    return "\n\n".join(parts)


def contenders(report: dict[str, Any]) -> str:
    """Return the version of each contender, and how it differs from the others."""
    part = report["parts"].get("batches", {})
    rows = [(name, each["version"], each["differs"]) for name, each in part.get("contenders", {}).items()]
    lines = [
        "| contender | version | what it does differently |\n|---|---|---|\n"
        + "\n".join("| " + " | ".join(row) + " |" for row in rows)
    ]
    lines += [f"Left out: {name}: {why}." for name, why in part.get("absent", {}).items()]
    if part:
        lines.append(
            f"A row of ours has {part['associated_bytes']} bytes of associated data, and so has the native limit's; the others "
            "that take any have 50. No contender reaches a network: keys are static or local."
        )
    return "\n\n".join(lines)


def page_block(report: dict[str, Any]) -> str:
    """Return the tables of docs/how-to/sizing.md: speed relative to the hand-written loop, and the overhead end to end."""
    sizes = [size for size in SIZES if size <= 65536]
    seal, open_ = speedups(report, "seal", 100), speedups(report, "open", 100)
    rows = [
        (
            f"**{name}**" if name in (NATIVE, PYTHON) else name,
            *(f"{a} / {b}" if a else "" for a, b in zip(seal[name], open_[name], strict=True)),
        )
        for name in seal
        if name not in (HAND, hand_written.AGAIN)
    ]
    lines = [
        "Times as fast as a hand-written AES-GCM loop, seal / open, rows in batches of 100:",
        table(("", *map(size_name, sizes)), rows),
    ]
    ours = [name for name in (NATIVE, PYTHON) if any(name in each["rounds"] for each in cells(report, "end_to_end"))]
    ends = [
        (
            name,
            *(
                factor(times(cell(report, "end_to_end", operation=operation, size=size), name, PLAINTEXT))
                for operation in ("COPY", "SELECT")
                for size in (256, 1024)
            ),
        )
        for name in ours
    ]
    if ends:
        head = ("", *(f"{operation}, {size_name(size)}" for operation in ("COPY", "SELECT") for size in (256, 1024)))
        lines += ["1,000 sealed rows into and out of PostgreSQL, time as a multiple of plaintext:", table(head, ends)]
    lines.append(
        summary(report) + " Method, peers, plots and every target met or missed: "
        "[benchmarks/report](../../benchmarks/report/README.md)."
    )
    return "\n\n".join(lines)
