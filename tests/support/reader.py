"""A person who follows a page at a terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

from tests.support.services.postgres import programs_of


class Reader:
    """A reader at a terminal. They type each line of a block, and fill in what earlier commands printed.

    Args:
        folder: Their working folder.
        dsn: The database, as `STRONGROOM_DSN`; None if they have no such variable.
        placeholders: What they fill in, with the pattern by which an earlier command's output shows it.
    """

    def __init__(self, folder, dsn=None, placeholders=MappingProxyType({})):
        path = os.pathsep.join([str(Path(sys.executable).parent), str(programs_of(18)), os.environ["PATH"]])
        self.folder = folder
        self.environment = {**os.environ, "PATH": path, "NO_COLOR": "1", "COLUMNS": "200"}
        if dsn is not None:
            self.environment["STRONGROOM_DSN"] = dsn
        self.placeholders = placeholders
        self.seen = {}

    def type(self, line):
        """Run a line; return what it printed."""
        for placeholder, value in self.seen.items():
            line = line.replace(placeholder, value)
        exported = re.fullmatch(r"export (\w+)=(\S+)", line)
        if exported:
            self.environment[exported[1]] = exported[2]
            return ""
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        for placeholder, pattern in self.placeholders.items():
            found = re.search(pattern, done.stdout + done.stderr)
            if found:
                self.seen[placeholder] = found[1]
        return done.stdout
