"""The end of a command by a signal: one line, and the exit code. It imports only what an interpreter has imported already."""

from __future__ import annotations

import os
import sys

STOPPED = "stopped; what was committed is kept, and the command can be run again"
FIRST = 128
"""Exit codes after signals begin here, as in a shell."""
_SHOW_CURSOR = "\x1b[?25h"


def stop(number: int, _frame: object = None) -> None:
    """Print one line and end the process, without running code of libraries that could print a traceback."""
    code = FIRST + number
    if "--json" in sys.argv:
        line = f'{{"error":{{"type":"Interrupted","message":"{STOPPED}","details":[],"exit_code":{code}}}}}\n'
    else:
        line = (_SHOW_CURSOR if _is_live_terminal() else "") + STOPPED + "\n"
    try:
        os.write(2, line.encode())
    finally:
        os._exit(code)


def _is_live_terminal() -> bool:
    try:
        return os.isatty(2) and os.environ.get("TERM", "dumb") not in {"dumb", ""}
    except OSError:
        return False
