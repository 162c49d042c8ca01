"""Run commands on a terminal, and find characters in their output that a terminal would obey or hide."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

from tests.support.forked_command import exit_code, forked_process, run_main

HOSTILE = (
    "a[/b]c[bold]:smile:\x1b]0;title\x07\x1b[2J\x9b31m\u009d8;;http://example.com\u009c\x7f\r\n\t\x08"
    "\u202eright\u2066\u200b\u200d\ufeff\u2028\u2029\u00ad\u3164\U000e0041end"
)
"""Text with control sequences, line breaks, invisible characters and markup."""
SGR = re.compile(r"\x1b\[[0-9;]+m")
_ALLOWED_INVISIBLE = "\n"


def run_on_terminal(folder, *arguments, environment=None, typed="", columns=80, timeout=180):
    """Run a command whose standard output is a terminal, and wait for its end. Standard error goes to a file."""
    with TemporaryDirectory() as scratch:
        stdin, stderr = Path(scratch, "stdin"), Path(scratch, "stderr")
        stdin.write_text(typed)
        master, slave = pty.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[1] &= ~termios.OPOST  # or the terminal's driver adds carriage returns
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        variables = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
        for name in ("NO_COLOR", "COLUMNS"):
            if name not in (environment or {}):
                variables.pop(name, None)
        streams = [stdin, Path(os.ttyname(slave)), stderr]
        process = forked_process(run_main, Path(folder), [str(each) for each in arguments], variables, streams)
        printed = []
        reader = Thread(target=_read, args=(master, printed))
        reader.start()
        code = exit_code(process, timeout)
        os.close(slave)
        reader.join()
        os.close(master)
        assert code is not None, arguments
        text = b"".join(printed).decode(errors="surrogateescape")
        return subprocess.CompletedProcess(arguments, code, stdout=text, stderr=stderr.read_text())


def _read(master, printed):
    while True:
        try:
            printed.append(os.read(master, 65536))
        except OSError:  # no process has the terminal open any more
            return


def raw_characters(text):
    """Return the characters of an output that must not be in it."""
    hidden = re.compile("[\u034f\u115f\u1160\u3164\uffa0\ufe00-\ufe0f\U000e0000-\U000e0fff]")
    return {each for each in text if not (each.isprintable() or each == "\n") or hidden.match(each)}
