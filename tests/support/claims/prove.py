"""Runs the tests of one claim of SECURITY.md. `make claim C=C8` starts it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.claims.table import ROOT, claims


def main(*ids):
    """Prove one claim, or list all of them. The exit code is that of its tests; 2 for an unknown claim."""
    known = {claim["id"]: claim for claim in claims()}
    if not ids:
        sys.stdout.write("".join(f"{name}  {claim['theirs']}\n" for name, claim in known.items()))
        return 0
    [name] = ids
    if name not in known:
        sys.stderr.write(f"no claim {name}. The claims are {', '.join(known)}\n")
        return 2
    claim = known[name]
    sys.stdout.write(f"{name}\n  Temporal Cloud says: {claim['theirs']}\n  here: {claim['ours']}\n")
    sys.stdout.flush()
    # A service that can't be started is a failure, because a skipped test proves nothing.
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:randomly",
            "--verbosity=1",
            "-o",
            "console_output_style=count",
            *claim["tests"],
        ],
        cwd=ROOT,
        env={**os.environ, "REQUIRE_SERVICES": "1"},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
