"""The entry point of the command `strongroom`. It imports neither click nor rich, which the extra `strongroom[cli]` installs."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or print what to install if the extra is missing."""
    try:
        from .main import main as run  # noqa: PLC0415 - needs the extra
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in {"click", "rich"}:
            raise
        text = f"error: the command line needs {name}, which is not installed. Run: pip install 'strongroom[cli]'"
        print(text, file=sys.stderr)  # noqa: T201 - rich is missing
        sys.exit(2)
    run()
