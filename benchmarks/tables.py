"""The report's text, from its JSON alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.contenders import hand_written
from benchmarks.contenders.names import NATIVE, PYTHON
from benchmarks.end_to_end import PLAINTEXT
from benchmarks.figures import cell, cells, duration, factor, nanoseconds, size_name, times
from benchmarks.measuring import Ratio, ratio
from benchmarks.part import SIZES
from benchmarks.targets import MISSED, UNKNOWN, targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HAND = hand_written.NAME
METHOD = (
    "Contenders take turns in one process, in an order that changes from round to round. Sealing and opening are CPU time of "
    "the process, results kept while the clock runs; what goes to PostgreSQL is wall time, server included. A ratio is "
    "the median of the ratios of each round, with the least and the greatest in brackets."
)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are set to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


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
        "## Who takes part",
        contenders(report),
        "## End to end",
        end_to_end(report),
        stores(report),
        visibility(report),
        "## Event loop, memory",
        latency(report),
        memory(report),
        "## Scale",
        scale(report),
        growth(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def summary(report: dict[str, Any]) -> str:
    """Return when, on what and how the report was made, in one sentence."""
    where = next(iter(report["parts"].values()))["conditions"]
    kind = "a quick run, whose figures are rough" if report["quick"] else "a full run"
    changed = " with uncommitted changes" if report["changed"] else ""
    return (
        f"Measured on {report['made']} at commit {report['commit']}{changed}, {kind}: {where['cores']} cores of an "
        f"{where['processor']}, CPython {where['python']}, cryptography {where['cryptography']}."
    )


def conditions(report: dict[str, Any]) -> str:
    """Say what the figures depend on, and how large the noise was."""
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
    """Return each target with what was measured."""
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


def names_in(found: Iterable[dict[str, Any]]) -> list[str]:
    """Return all contenders that took part in some cell, in order."""
    return list(dict.fromkeys(name for each in found for name in each["rounds"]))


def speedups(report: dict[str, Any], operation: str, batch: int) -> dict[str, list[str]]:
    """Return for each contender how many times as fast as the hand-written loop it is, by size."""
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
    """Return versions, and what each does differently."""
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


def end_to_end(report: dict[str, Any]) -> str:
    """Return COPY and SELECT as multiples of plaintext."""
    found = cells(report, "end_to_end")
    if not found:
        return ""
    names = [name for name in names_in(found) if name != PLAINTEXT]
    rows = [
        (
            f"{each['operation']}, {size_name(each['size'])}",
            duration(nanoseconds(each, PLAINTEXT)),
            *(str(times(each, name, PLAINTEXT) or "") for name in names),
        )
        for each in found
    ]
    return (
        f"{report['parts']['end_to_end']['rows']} rows of a table of history nodes, wall time as a multiple of plaintext; "
        "`plaintext again` is noise, `as long as sealed` has no cryptography.\n\n"
        + table(("", "plaintext, a row", *names), rows)
    )


def stores(report: dict[str, Any]) -> str:
    """Return the store's operations sealed against unsealed, and the key cache."""
    part = report["parts"].get("stores")
    if part is None:
        return ""
    rows = [
        (
            each["operation"],
            str(each["callers"]),
            duration(nanoseconds(each, "plain")),
            duration(nanoseconds(each, "sealed")),
            str(times(each, "sealed", "plain")),
            *(f"{each['client_cpu_us'][name]:.0f} µs" for name in ("plain", "sealed")),
        )
        for each in part["cells"]
    ]
    where = f"through the store, {part['conditions']['sealed_with']}"
    head = (where, "callers", "unsealed", "sealed", "ratio", "client CPU, unsealed", "sealed")
    cache = part["key_cache"]
    return (
        table(head, rows)
        + f"\n\nKeys of a namespace: {duration(cache['hit_ns'])} (CPU) when they are cached, {duration(cache['miss_ns'])} when the "
        "registry in PostgreSQL is read and the local provider unwraps them."
    )


def visibility(report: dict[str, Any]) -> str:
    """Return writing and listing of documents against the plaintext twin."""
    part = report["parts"].get("visibility")
    if part is None:
        return ""
    rows = [("write a document", part["writing"])] + [
        (f"list of 100: {each['class']}", each["rounds"]) for each in part["lists"]
    ]
    lines = [
        (
            what,
            duration(nanoseconds({"rounds": rounds}, "plain")),
            duration(nanoseconds({"rounds": rounds}, "sealed")),
            str(ratio(rounds, "sealed", "plain")),
        )
        for what, rounds in rows
    ]
    what = f"visibility in PostgreSQL, {part['documents']:,} documents, {part['conditions']['sealed_with']}"
    head = (what, "plaintext twin", "sealed", "ratio")
    return table(head, lines)


def latency(report: dict[str, Any]) -> str:
    """Return how late callbacks ran."""
    part = report["parts"].get("latency")
    if part is None:
        return ""
    rows = [("nothing to do", "", "", *(f"{part['idle'][key]:.2f} ms" for key in ("p50_ms", "p99_ms", "max_ms")))] + [
        (
            each["contender"],
            str(each["chunk"]),
            each["where"],
            *(f"{each[key]:.2f} ms" for key in ("p50_ms", "p99_ms", "max_ms")),
        )
        for each in part["cells"]
    ]
    return (
        f"By how much a timer of {part['tick_ms']:g} ms came late while {part['rows']:,} rows of {size_name(part['size'])} "
        "were sealed:\n\n" + table(("", "rows a turn", "where", "p50", "p99", "max"), rows)
    )


def memory(report: dict[str, Any]) -> str:
    """Return time and peak memory of large batches."""
    part = report["parts"].get("memory")
    if part is None:
        return ""
    rows = [
        (
            name,
            each["heap"],
            str(each["piece"]),
            duration(nanoseconds(each, name)),
            f"{each['peak_bytes'][name] / 2**20:.1f} MiB",
        )
        for each in part["large_batches"]
        for name in each["rounds"]
    ]
    keys = ", ".join(f"{size:,.0f} ({name})" for name, size in part["python_bytes_of_a_namespace"].items())
    return (
        f"Sealing {part['rows']:,} rows of {size_name(part['size'])}, a process each; peak memory above what stood before:\n\n"
        + table(("", "heap", "rows a call", "CPU a row", "peak"), rows)
        + f"\n\nBytes that Python holds for the keys of a namespace: {keys}."
    )


def scale(report: dict[str, Any]) -> str:
    """Return throughput against namespaces and threads."""
    part = report["parts"].get("scale")
    if part is None:
        return ""
    counts = list(part["namespaces"][0]["rounds"])
    rows = [
        (
            f"{each['contender']}, {each['operation']}",
            *(duration(nanoseconds(each, count)) for count in counts),
            *(str(times(each, count, counts[0])) for count in counts[1:]),
        )
        for each in part["namespaces"]
    ]
    head = [
        "CPU a row of 256 B, ten rows a request, namespaces drawn at random",
        *(f"{int(count):,} namespaces" for count in counts),
        *(f"{int(count):,} to {counts[0]}" for count in counts[1:]),
    ]
    many = list(part["threads"][0]["rounds"])
    threads = [
        (
            f"{each['contender']}, {size_name(each['size'])}",
            *(_rate(each["size"], nanoseconds(each, count)) for count in many),
            *(str(times(each, many[0], count)) for count in many[1:]),
        )
        for each in part["threads"]
    ]
    thread_head = [
        "sealing by threads, MB/s, and speed-up over one",
        *(f"{count} threads" for count in many),
        *(f"{count} to {many[0]}" for count in many[1:]),
    ]
    return table(head, rows) + "\n\n" + table(thread_head, threads)


def _rate(size: int, nanoseconds_a_row: float | None) -> str:
    return f"{size / nanoseconds_a_row * 1e3:,.0f}" if nanoseconds_a_row else ""


def growth(report: dict[str, Any]) -> str:
    """Return what a row costs as the table grows."""
    part = report["parts"].get("growth")
    if part is None:
        return ""
    names = list(part["cells"][0]["ns_a_row"])
    rows = [
        (
            each["operation"],
            f"{each['rows']:,}",
            *(duration(each["ns_a_row"][name]) for name in names),
            *(factor(each["ns_a_row"][name] / each["ns_a_row"][PLAINTEXT]) for name in names if name != PLAINTEXT),
        )
        for each in sorted(part["cells"], key=lambda each: str(each["operation"]))
    ]
    head = (
        "wall time a row as the table grows",
        "rows in it",
        *names,
        *(f"{n} / plaintext" for n in names if n != PLAINTEXT),
    )
    return table(head, rows)


def readme_block(report: dict[str, Any]) -> str:
    """Return the README's table: speed over the hand-written loop, and what is added end to end."""
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
        "[benchmarks/report](benchmarks/report/README.md)."
    )
    return "\n\n".join(lines)
