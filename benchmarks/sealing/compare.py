"""Report which cells this work tree seals and opens faster or slower than another commit: `make bench-compare`.

    python -m benchmarks.sealing.compare HEAD~1

Both versions are measured in one run. A process for each version, and a second process for the base, take turns in each round of each
cell. The difference between the two processes of the base is noise. All processes are started a few times, because one process can be
faster than another of the same code for its whole life. A change is reported only if it is larger than the scatter of its own rounds
allows, and larger than the largest difference of base and base in the same run.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from benchmarks.lib.figures import duration, size_name
from benchmarks.lib.measuring import rotated
from benchmarks.lib.part import KEPT_HEAP

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Cell: TypeAlias = tuple[str, str, int, int, bool]
    """Cipher, operation, bytes per row, rows per call, and whether the rows are compressible text."""

ROOT = Path(__file__).parents[2]
PACKAGES = ("kms", "storage", "visibility", "driver")
BASE, AGAIN, CHANGED = "base", "base again", "changed"
SHAPES = (
    (64, 1, False),
    (64, 100, False),
    (1024, 1, False),
    (1024, 100, False),
    (16384, 100, False),
    (1024, 100, True),
)
STARTS, ROUNDS = 3, 9
LEAST = 1.02
"""Smallest factor that is reported."""
SCATTERS = 4.0
"""Number of standard errors of its own median that a change must exceed."""


class Worker:
    """A process with one version of Strongroom.

    Args:
        library: The folder that contains the version as `strongroom`, see `link`.
        heap: The environment variables for the process's allocator.
    """

    def __init__(self, library: Path, heap: Mapping[str, str]) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")} | dict(heap)
        environment |= {"PYTHONPATH": str(library), "COMPARE_LIBRARY": str(library), "PYTHONHASHSEED": "0"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sealing.compare_worker"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ciphers(self) -> list[str]:
        """Return the ciphers of the version. Call it once; it waits until the process is ready."""
        found: list[str] = json.loads(self._answer())
        return found

    def sample(self, cell: Cell) -> float:
        """Measure a cell once; return nanoseconds per row."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(cell) + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            message = "a version can't be measured: its process ended; its output has the reason"
            raise click.ClickException(message)
        return line

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one cell.

    Attributes:
        cell: The cell.
        base_ns: The base's median, in nanoseconds per row.
        factor: The time of the changed version divided by the base's.
        noise: The time of one process of the base divided by that of the other.
        needed: The smallest factor (or its inverse) that is reported.
    """

    cell: Cell
    base_ns: float
    factor: float
    noise: float
    needed: float

    @property
    def verdict(self) -> str:
        """The word `slower` or `faster`; empty if the change is within the noise."""
        if max(self.factor, 1 / self.factor) <= self.needed:
            return ""
        return "SLOWER" if self.factor > 1 else "faster"


def link(tree: Path, library: Path) -> Path:
    """Make a folder that contains a work tree's packages as `strongroom`; return the folder."""
    package = library / "strongroom"
    package.mkdir(parents=True)
    for name in PACKAGES:
        (package / name).symlink_to(tree / name)
    return library


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check out a commit in another folder, and remove the folder at the end."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        added = ["git", "worktree", "add", "--quiet", "--detach", str(tree), commit]
        if subprocess.run(added, cwd=ROOT, check=False).returncode != 0:
            message = f"git can't check {commit} out; name a commit with BASE=..."
            raise click.ClickException(message)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def add_kernel(tree: Path, library: Path) -> None:
    """Build a commit's native kernel into its library, unless it is the same as this work tree's kernel, which is installed."""
    kernel = tree / "kernel"
    if not kernel.is_dir() or _sources(kernel) == _sources(ROOT / "kernel"):
        return
    if shutil.which("cargo") is None:
        message = "the kernels of both versions differ, and there is no cargo here to build the base's"
        raise click.ClickException(message)
    print("building the base's kernel ...", file=sys.stderr)
    installer = [str(ROOT / ".tools" / "bin" / "uv"), "pip", "install", "-q", "--no-deps", "--target", str(library)]
    environment = os.environ | {"CARGO_TARGET_DIR": str(ROOT / "kernel" / "target" / "base")}
    subprocess.run([*installer, "--python", sys.executable, str(kernel)], env=environment, check=True)


def _sources(kernel: Path) -> dict[str, bytes]:
    files = [*kernel.glob("*.toml"), *kernel.glob("src/**/*.rs")]
    return {str(file.relative_to(kernel)): file.read_bytes() for file in files}


def compare(
    base: Path,
    changed: Path,
    *,
    shapes: Sequence[tuple[int, int, bool]] = SHAPES,
    ciphers: Sequence[str] | None = None,
    starts: int = STARTS,
    rounds: int = ROUNDS,
    least: float = LEAST,
    heap: Mapping[str, str] = KEPT_HEAP,
) -> list[Finding]:
    """Measure two versions in turns.

    Args:
        base: The base's library, see `link`.
        changed: The changed version's library.
        shapes: Bytes per row, rows per call, and whether the rows are text.
        ciphers: The names of the ciphers; empty for all that both versions have.
        starts: The number of times that all processes are started.
        rounds: The number of rounds after each start.
        least: The smallest factor that is reported, see `LEAST`.
        heap: The environment variables for the allocator, for both versions.
    """
    taken: dict[Cell, list[dict[str, float]]] = {}
    for start in range(starts):
        with ExitStack() as stack:
            workers = {}
            for name, library in ((BASE, base), (AGAIN, base), (CHANGED, changed)):
                workers[name] = Worker(library, heap)
                stack.callback(workers[name].close)
            has = {name: worker.ciphers() for name, worker in workers.items()}
            common = ciphers or [each for each in has[BASE] if each in has[CHANGED]]
            cells = [(cipher, does, *shape) for cipher in common for shape in shapes for does in ("seal", "open")]
            for number in range(rounds):
                for cell in cells:
                    order = rotated(list(workers), number + start)
                    taken.setdefault(cell, []).append({name: workers[name].sample(cell) for name in order})
        print(f"  {start + 1} of {starts}", file=sys.stderr)
    return judge(taken, least=least)


def judge(taken: Mapping[Cell, Sequence[Mapping[str, float]]], *, least: float = LEAST) -> list[Finding]:
    """Return the result of each cell from the times of the three processes in each round."""
    noise = {
        cell: statistics.median(math.log(each[AGAIN] / each[BASE]) for each in rounds) for cell, rounds in taken.items()
    }
    floor = max(math.log(least), *(abs(each) for each in noise.values()))
    found = []
    for cell, rounds in taken.items():
        # Compare with the mean of the base's two processes, because one process can be faster than another by chance.
        changes = [math.log(each[CHANGED]) - (math.log(each[BASE]) + math.log(each[AGAIN])) / 2 for each in rounds]
        middle = statistics.median(changes)
        scatter = 1.4826 * statistics.median(abs(each - middle) for each in changes)
        error = 1.2533 * scatter / math.sqrt(len(changes))  # the standard error of a median, for a normal distribution
        needed = math.exp(max(floor, SCATTERS * error))
        base_ns = statistics.median(each[BASE] for each in rounds)
        found.append(Finding(cell, base_ns, math.exp(middle), math.exp(noise[cell]), needed))
    return found


def told(found: Sequence[Finding]) -> str:
    """Return all cells as a table. The last line names the changes beyond the noise."""
    lines = [f"{'':42}{'base a row':>12}{'changed':>10}{'base again':>12}{'limit':>11}"]
    for each in found:
        cipher, operation, size, batch, text = each.cell
        name = f"{cipher}, {operation} {size_name(size)} x {batch}{', text with zstd' if text else ''}"
        lines.append(
            f"{name:42}{duration(each.base_ns):>12}{each.factor:>9.3f}x{each.noise:>11.3f}x{each.needed:>10.3f}x  {each.verdict}"
        )
    beyond = [each for each in found if each.verdict]
    slower = sum(each.verdict == "SLOWER" for each in beyond)
    lines.append(
        f"\n{slower} of {len(found)} cells slower, {len(beyond) - slower} faster, beyond the noise"
        if beyond
        else "\nno change beyond the noise"
    )
    return "\n".join(lines)


@click.command()
@click.argument("commit", default="HEAD~1")
@click.option("--starts", default=STARTS, show_default=True, help="How often the processes are started.")
@click.option("--rounds", default=ROUNDS, show_default=True, help="Of each start.")
@click.option("--stock-heap", is_flag=True, help="As glibc comes: large rows then cost fresh pages, and scatter more.")
def main(commit: str, starts: int, rounds: int, *, stock_heap: bool) -> None:
    """Compare this work tree with COMMIT."""
    with tempfile.TemporaryDirectory() as folder, checked_out(commit) as tree:
        base, changed = link(tree, Path(folder) / "base"), link(ROOT, Path(folder) / "changed")
        add_kernel(tree, base)
        print(told(compare(base, changed, starts=starts, rounds=rounds, heap={} if stock_heap else KEPT_HEAP)))


if __name__ == "__main__":
    main()
