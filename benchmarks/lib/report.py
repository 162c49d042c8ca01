"""Measure all parts, each in its own process, and write the report and the table of docs/how-to/sizing.md: `make bench`.

python -m benchmarks.lib.report            # everything, about 20 minutes
python -m benchmarks.lib.report --quick    # rough, 3 minutes
python -m benchmarks.lib.report --only batches --only memory   # measure these again, keep the rest
python -m benchmarks.lib.report --resume   # measure the parts that are missing, for example after an interruption
python -m benchmarks.lib.report --render   # render the text and the plots from the stored figures
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from benchmarks.lib import page, tables
from benchmarks.lib.part import KEPT_HEAP, ROOT, commit, git

FOLDER = ROOT / "benchmarks" / "report"
RESULT = FOLDER / "report.json"
PARTS = {
    "batches": "benchmarks.sealing.batches",
    "memory": "benchmarks.sealing.memory",
    "latency": "benchmarks.sealing.latency",
    "scale": "benchmarks.sealing.scale",
    "end_to_end": "benchmarks.sealing.end_to_end",
    "stores": "benchmarks.persistence.stores",
    "visibility": "benchmarks.visibility.cost",
    "growth": "benchmarks.sealing.growth",
}
HEAP_KEPT = ("batches", "scale", "end_to_end")
"""Parts that run with `KEPT_HEAP`. Otherwise their figures would depend on how often glibc returns pages, which memory.py measures."""


def measure(name: str, *, quick: bool) -> dict[str, Any]:
    """Run a part in its own process; return its figures.

    Raises:
        CalledProcessError: The part failed. Its output has the reason.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    if name in HEAP_KEPT:
        environment |= KEPT_HEAP
    print(f"{name} ...", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-m", PARTS[name], "--out", str(out), *(["--quick"] if quick else [])]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        found: dict[str, Any] = json.loads(out.read_text())
        return found


def save(report: dict[str, Any]) -> None:
    """Write the figures that were measured so far."""
    FOLDER.mkdir(exist_ok=True)
    temporary = RESULT.with_suffix(".part")
    temporary.write_text(json.dumps(report, separators=(",", ":")) + "\n")
    temporary.replace(RESULT)


def write(report: dict[str, Any]) -> None:
    """Write JSON, text, plots and the table of docs/how-to/sizing.md."""
    save(report)
    render(report)


def render(report: dict[str, Any]) -> None:
    """Write text, plots and the table of docs/how-to/sizing.md."""
    try:
        from benchmarks.lib import plots  # noqa: PLC0415 - the tables do not need matplotlib
    except ModuleNotFoundError as error:
        print(f"no plots: {error.name} is not installed", file=sys.stderr)
        drawn = {}
    else:
        for old in plots.TITLES:
            (FOLDER / old).unlink(missing_ok=True)
        drawn = plots.draw(report, FOLDER)
    (FOLDER / "README.md").write_text(tables.document(report, drawn))
    page.PAGE.write_text(page.replaced(page.PAGE.read_text(), tables.page_block(report)))


@click.command()
@click.option("--quick", is_flag=True, help="Fewer rounds and smaller tables.")
@click.option("--only", multiple=True, type=click.Choice(list(PARTS)), help="Measure these again; keep the rest.")
@click.option("--resume", is_flag=True, help="Measure the parts that are missing; keep the rest.")
@click.option("--render", "render_only", is_flag=True, help="Measure nothing; write text and plots again.")
def main(*, quick: bool, only: tuple[str, ...], resume: bool, render_only: bool) -> None:
    """Measure, write and print."""
    kept = json.loads(RESULT.read_text()) if (only or resume or render_only) and RESULT.exists() else None
    if render_only:
        if kept is None:
            message = "nothing was measured yet: run it without --render"
            raise click.ClickException(message)
        render(kept)
        return
    if resume and kept and (kept["commit"], kept["quick"]) != (commit(), quick):
        kept = None  # figures of another commit are not mixed with these
    report: dict[str, Any] = kept or {"parts": {}, "absent": {}}
    report["made"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    report["commit"] = commit()
    report["changed"] = bool(git("status", "--porcelain", "--untracked-files=no", ":!requirements"))
    report["quick"] = quick or bool(kept and kept["quick"])
    failed = []
    names = only or [name for name in PARTS if not resume or name not in report["parts"]]
    for name in names:
        try:
            report["parts"][name] = measure(name, quick=quick)
            report["absent"].pop(name, None)
        except subprocess.CalledProcessError as error:
            failed.append(name)
            report["parts"].pop(name, None)
            report["absent"][name] = f"ended with exit code {error.returncode}"
        save(report)  # an interruption then loses the current part only
    if not report["parts"]:
        message = "no part could be measured"
        raise click.ClickException(message)
    write(report)
    print((FOLDER / "README.md").read_text())
    if failed:
        message = f"these parts failed and are left out of the report: {', '.join(failed)}"
        raise click.ClickException(message)


if __name__ == "__main__":
    main()
