"""A copy of the work tree from which everything of a release is built, so that nothing else of this folder gets into it."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from checks.tree import ROOT, git, tracked_files

if TYPE_CHECKING:
    from pathlib import Path


def commit_time(root: Path = ROOT) -> str:
    """Return the time of the newest commit in seconds, which builds use as the time of all files."""
    return git("log", "-1", "--format=%ct", root=root).strip()


def copy_tree(target: Path, root: Path = ROOT) -> None:
    """Copy the tracked and the new files of a work tree. Permissions depend only on whether a file is executable."""
    for name in tracked_files(root):
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, copy)
        copy.chmod(0o755 if os.access(root / name, os.X_OK) else 0o644)


def run(*command: str | Path, folder: Path, **environment: str) -> None:
    """Run a program of a build in a folder. All users can read its new files, whatever the caller's umask is.

    Raises:
        SystemExit: The program failed; the message has its output.
    """
    kept = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**kept, **environment},
        umask=0o022,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}")
