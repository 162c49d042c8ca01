"""Temporal's own Go store as a contender. `temporal-go/` contains the program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


class Temporal:
    """The Go program. It reads a command from each line of its input and writes an answer on a line.

    Args:
        dsn: The connection string of its database.
        built: A folder for the program.
    """

    def __init__(self, dsn: str, built: Path) -> None:
        folder = Path(__file__).parent / "temporal-go"
        binary = built / "temporal-go"
        print("building temporal-go (minutes if Go's cache is empty) ...", file=sys.stderr)
        subprocess.run(["go", "build", "-trimpath", "-o", str(binary), "."], cwd=folder, check=True)
        self._process = subprocess.Popen(
            [str(binary), "--dsn", dsn],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, **command: object) -> dict[str, float]:
        """Send a command; return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        answer: dict[str, float] = json.loads(self._process.stdout.readline())
        if answer.get("errors"):
            message = f"temporal-go: {answer}"
            raise RuntimeError(message)
        return answer

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
