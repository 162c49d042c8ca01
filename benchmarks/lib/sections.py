"""The report's sections beyond sealing: end to end, memory, scale. They are rendered from the JSON alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.lib.figures import cell, cells, duration, factor, names_in, nanoseconds, size_name, table, times
from benchmarks.lib.measuring import ratio
from benchmarks.lib.part import SIZES
from benchmarks.sealing.contenders.names import LIMIT, NATIVE
from benchmarks.sealing.end_to_end import PLAINTEXT

FEW_ROWS, MANY_ROWS = 100, 1000


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


def remainder(report: dict[str, Any]) -> str:
    """Return how the kernel's time is divided between AWS-LC, the rest of a row and the rest of a call, and what was tried."""
    rows = []
    for operation in ("seal", "open"):
        for size in SIZES:
            few, many = (
                cell(report, "batches", operation=operation, size=size, batch=batch) for batch in (FEW_ROWS, MANY_ROWS)
            )
            limit, ours, ours_few = nanoseconds(many, LIMIT), nanoseconds(many, NATIVE), nanoseconds(few, NATIVE)
            if limit is None or ours is None or ours_few is None:
                continue
            # With few rows per call, each row bears more of the call's cost. Above the size of the caches, the noise hides that cost.
            call = (ours_few - ours) / (1 / FEW_ROWS - 1 / MANY_ROWS)
            place = f"{operation}, {size_name(size)}"
            rest = [duration(each) if each > 0 else "noise" for each in (ours - limit, call)]
            rows.append((place, duration(limit), *rest))
    if not rows:
        return ""
    head = (f"native kernel, batch {MANY_ROWS}", "AWS-LC, a row", "all else, a row", "a call")
    remarks = Path(__file__).with_name("remarks.md").read_text(encoding="utf-8").strip()
    return table(head, rows) + "\n\n" + remarks


def stores(report: dict[str, Any]) -> str:
    """Return the store's operations, sealed compared with unsealed, and the key cache."""
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
    """Return the cost of writing and listing documents, compared with the plaintext copy."""
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
    head = (what, "plaintext copy", "sealed", "ratio")
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
        f"Sealing {part['rows']:,} rows of {size_name(part['size'])}, a process each; peak memory above the size before:\n\n"
        + table(("", "heap", "rows a call", "CPU a row", "peak"), rows)
        + f"\n\nBytes that Python holds for the keys of a namespace: {keys}."
    )


def scale(report: dict[str, Any]) -> str:
    """Return throughput by number of namespaces and by number of threads."""
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
    """Return the cost of a row as the table grows."""
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
