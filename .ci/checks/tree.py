"""The files of the work tree, and how a check reports its faults."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def git(*arguments: str, root: Path = ROOT) -> str:
    """Run git in a repository and return its output.

    Raises:
        subprocess.CalledProcessError: git failed, for example because the folder is not a repository.
    """
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def tracked_files(root: Path = ROOT) -> list[Path]:
    """Return the tracked and the new files of a work tree, relative to its root; a deleted file is left out."""
    names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", root=root).split("\0")
    return sorted({Path(name) for name in names if name and (root / name).is_file()})


def report(faults: list[str], advice: str) -> int:
    """Print faults and what to do about them; return the exit code."""
    for fault in faults:
        sys.stderr.write(f"{fault}\n")
    if faults:
        sys.stderr.write(f"{len(faults)} faults. {advice}\n")
    return 1 if faults else 0
