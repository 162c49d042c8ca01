"""The oldest glibc on which the kernel's wheel works, which its tag states, and the check that its symbols agree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

GLIBC = (2, 34)
"""The glibc of RHEL 9 and Amazon Linux 2023; Debian 12 and Ubuntu 22.04 have a newer one. What is linked on a newer system needs at
least this version, because the functions of libpthread and libdl moved into libc with it."""
VERSION = ".".join(map(str, GLIBC))
"""The version as it is written in the documentation and in the bill of materials."""
TAG = "manylinux_{}_{}".format(*GLIBC)
"""The platform tag of PEP 600, without the architecture."""
REMEDY = "Build on a system with an older glibc. Or raise GLIBC in .ci/release/baseline.py, and change the pages that name it."
_NEEDED = re.compile(r"0x[0-9a-f]+:\s+Name: GLIBC_(\S+)")
_SYMBOL = re.compile(r"\bUND (\S+?)@GLIBC_(\S+)")


def check_wheel(wheel: Path) -> None:
    """Check that a wheel has the tag of the baseline, and that each of its libraries works there.

    Raises:
        SystemExit: The tag is another one, a library needs a newer glibc, or the wheel has no library.
    """
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory(prefix="strongroom-wheel-") as folder:
        if not wheel.stem.rsplit("-", 1)[-1].startswith(f"{TAG}_"):
            raise SystemExit(f"{wheel.name} does not have the platform tag {TAG}. Build it with 'make wheels'.")
        libraries = [name for name in archive.namelist() if name.endswith(".so")]
        if not libraries:
            raise SystemExit(f"{wheel.name} has no library. Look at the output of maturin.")
        for name in libraries:
            check_library(Path(archive.extract(name, folder)))


def check_library(library: Path) -> None:
    """Check that a library needs no newer glibc than the baseline.

    Raises:
        SystemExit: It needs a newer one. The message names the versions and the symbols.
    """
    shown = _readelf(library)
    newer = sorted({version for version in _NEEDED.findall(shown) if _is_newer(version)})
    if newer:
        symbols = sorted(
            f"{name} (GLIBC_{version})" for name, version in set(_SYMBOL.findall(shown)) if version in newer
        )
        raise SystemExit(
            f"{library.name} needs GLIBC_{', GLIBC_'.join(newer)}, and its wheel promises glibc {VERSION}. "
            f"Symbols: {', '.join(symbols) or 'none'}. {REMEDY}"
        )


def _is_newer(version: str) -> bool:
    """Return whether a version is newer than the baseline. One that is not a number, such as ABI_DT_RELR, counts as newer."""
    return not re.fullmatch(r"\d+(\.\d+)+", version) or tuple(map(int, version.split("."))) > GLIBC


def _readelf(library: Path) -> str:
    """Return the versions and the dynamic symbols of a library as text."""
    program = shutil.which("readelf")
    if program is None:
        raise SystemExit(
            "no readelf here, which reads the symbols of the kernel. On Debian and Ubuntu: apt-get install binutils"
        )
    return subprocess.run(
        [program, "--wide", "--version-info", "--dyn-syms", library],
        env={**os.environ, "LC_ALL": "C"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
