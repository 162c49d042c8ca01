"""Servers that don't wait for the disk, for tests only. Dropping a database of a test otherwise waits for 300 files to be on disk."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

_SOURCE = Path(__file__).with_name("unsynced.c")


@cache
def unsynced() -> dict[str, str]:
    """Return environment variables for a server whose `fsync` does nothing; empty without a C compiler.

    The server's own setting stays on, because `strongroom doctor` checks it.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return {}
    folder = Path(tempfile.mkdtemp(prefix="strongroom-unsynced-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o755)  # the server may run as another user
    library = folder / "unsynced.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE], check=True)
    return {"LD_PRELOAD": str(library)}
