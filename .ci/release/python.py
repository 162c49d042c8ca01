"""Wheel and source archive of `strongroom`. The same files and the same time give the same bytes."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
from typing import TYPE_CHECKING

from release.tree import run

if TYPE_CHECKING:
    from pathlib import Path


def build(tree: Path, out: Path, time: str) -> list[Path]:
    """Build the source archive from a tree, and the wheel from the source archive.

    Args:
        tree: A copy of the work tree (`copy_tree`).
        out: The folder of the results.
        time: `SOURCE_DATE_EPOCH`, in seconds.

    Returns:
        The paths of both files.

    Raises:
        SystemExit: The build failed.
    """
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, "."),
        folder=tree,
        SOURCE_DATE_EPOCH=time,
        PYTHONHASHSEED="0",
    )
    [archive], [wheel] = out.glob("strongroom-*.tar.gz"), out.glob("strongroom-*.whl")
    archive.write_bytes(same_bytes(archive.read_bytes(), int(time)))
    return [archive, wheel]


def same_bytes(archive: bytes, time: int) -> bytes:
    """Return a source archive with sorted members, one time and no owner. setuptools writes the time of the build and its user."""
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as source,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=time) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as target,
    ):
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = time, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            target.addfile(member, source.extractfile(member) if member.isfile() else None)
    return packed.getvalue()
