"""Programs whose wall clock is wrong, and jumps while they run. Their monotonic clock is right."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.support.services import missing

_SOURCE = Path(__file__).with_name("shifted_clock.c")


class ShiftedClock:
    """A wall clock for child processes, which is wrong by some seconds.

    Args:
        folder: A folder for the library that the processes load and for the file that has the offset.
    """

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc")
        if compiler is None:
            missing("no C compiler (cc), which the tests of wrong clocks need")
        folder.mkdir(mode=0o755, exist_ok=True)
        self._file = folder / "offset"
        self.shift(0)
        self._file.chmod(0o644)
        library = folder / "shifted_clock.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
        self.environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(self._file)}

    def shift(self, seconds: float) -> None:
        """Set the error of the clock, in all processes that use it and at once."""
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(int(seconds * 10**9).to_bytes(8, "little", signed=True))
