"""The entry point of the command `strongroom`. It imports neither click nor rich, which the extra `strongroom[cli]` installs.

It handles signals before everything else is imported, which takes a second. Only the start of the interpreter itself is earlier.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

from .stopped import stop

for _number in (signal.SIGINT, signal.SIGTERM):
    if signal.getsignal(_number) is not signal.SIG_IGN:
        signal.signal(_number, stop)

for _descriptor in range(3):  # one that the parent closed would be given to a file or a socket, and then be written to
    try:
        os.fstat(_descriptor)
    except OSError:
        os.open(os.devnull, os.O_RDWR)


def main() -> None:
    """Run the command line, or print what to install if the extra is missing."""
    from importlib.util import find_spec  # noqa: PLC0415 - after the handlers

    from .interrupts import INTERRUPTS  # noqa: PLC0415

    INTERRUPTS.install()
    atexit.register(INTERRUPTS.ignore_late_signals)  # called as the last one, when all threads have ended
    for name in ("click", "rich"):
        if find_spec(name) is None:
            text = f"error: the command line needs {name}, which is not installed. Run: pip install 'strongroom[cli]'"
            print(text, file=sys.stderr)  # noqa: T201 - the modules that print need it
            sys.exit(2)
    from .main import main as run  # noqa: PLC0415 - needs the extra

    run()
