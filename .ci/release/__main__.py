"""Builds everything of a release into a folder, twice if asked to, and compares the bytes."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from release import kernel, python, pythons, sbom
from release.tree import commit_time, copy_tree


def main() -> int:
    """Build; the exit code is 1 if two builds differ."""
    parser = argparse.ArgumentParser(prog="release", description=__doc__)
    parser.add_argument("out", type=Path, help="the folder of the results, which is emptied first")
    parser.add_argument("--twice", action="store_true", help="build in two folders and compare the bytes")
    parser.add_argument(
        "--quick", action="store_true", help="check the pins of the kernel's crates, and don't build the kernel"
    )
    parser.add_argument("--pythons", action="store_true", help="install the results with each Python of this machine")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="strongroom-source-") as name:
        source = Path(name)
        copy_tree(source)  # once, so that both builds have the same files
        digests = build(source, arguments.out, quick=arguments.quick)
        if arguments.pythons:
            for line in pythons.try_all(arguments.out.resolve()):
                said(line)
        return same_again(source, digests, quick=arguments.quick) if arguments.twice else 0


def same_again(source: Path, digests: dict[str, str], *, quick: bool) -> int:
    """Build again in another folder; return 1 if a file has other bytes."""
    with tempfile.TemporaryDirectory(prefix="strongroom-second-") as second:
        again = build(source, Path(second, "out"), quick=quick)
    differing = sorted(name for name in digests | again if digests.get(name) != again.get(name))
    for name in differing:
        sys.stderr.write(f"{name}: the second build has other bytes\n")
    sys.stdout.write("" if differing else "both builds have the same bytes\n")
    return 1 if differing else 0


def build(source: Path, out: Path, *, quick: bool = False) -> dict[str, str]:
    """Build everything from a copy of the tree into a folder.

    Args:
        source: The copy of the tree.
        out: The folder of the results, which is emptied first.
        quick: Whether only the pins of the kernel's crates are checked, in place of building the kernel.

    Returns:
        The SHA-256 of each file, by name. `SHA256SUMS` lists them too.
    """
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    out = out.resolve()
    time = commit_time()
    with tempfile.TemporaryDirectory(prefix="strongroom-release-") as name:
        tree = Path(name, "tree")
        shutil.copytree(source, tree)
        said("strongroom: wheel and source archive")
        python.build(tree, out, time)
        said("bill of materials")
        sbom.build(tree, out, time)
        if not shutil.which("cargo"):
            said("no cargo here: the kernel's wheel is left out")
        elif quick:
            kernel.lock(tree / "kernel")
            said("the kernel's crates are the pinned ones; its wheel is left out")
        else:
            said("kernel (three minutes the first time)")
            kernel.build(tree, out, time)
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}
    (out / "SHA256SUMS").write_text("".join(f"{digest}  {path}\n" for path, digest in digests.items()))
    for path, digest in digests.items():
        said(f"{digest}  {path}  {(out / path).stat().st_size:,} bytes")
    return digests


def said(line: str) -> None:
    """Print a line immediately."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
