"""The entry point of the command `strongroom`. It imports neither click nor rich, which the extra `strongroom[cli]` installs."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from .interrupts import INTERRUPTS


def main() -> None:
    """Run the command line, or print what to install if the extra is missing."""
    INTERRUPTS.install()  # before everything else is imported, which takes a second
    for name in ("click", "rich"):
        if find_spec(name) is None:
            text = f"error: the command line needs {name}, which is not installed. Run: pip install 'strongroom[cli]'"
            print(text, file=sys.stderr)  # noqa: T201 - the modules that print need it
            sys.exit(2)
    from .main import main as run  # noqa: PLC0415 - needs the extra

    run()
