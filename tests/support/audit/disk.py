"""A disk for an audit log that can hang, fail, and fill up in the middle of a write."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

from strongroom.driver.audit import LogSettings
from strongroom.driver.audit.chain import chosen_append
from tests.support.audit.logs import PATIENT

HANG_SECONDS = 60


class Disk:
    """The disk of a log: `LogSettings(append=disk.append)`.

    Attributes:
        goes_on: An event. While it is cleared, writes hang for at most a minute.
        error: The error that writes raise; None if they succeed.
        torn: The number of bytes of a failed write that reach the file.
        writes: The number of writes that succeeded, and the descriptor of the last one.
    """

    def __init__(self):
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.error = None
        self.torn = 0
        self.writes = 0
        self.file = None
        self._append = chosen_append()
        self._settings = replace(PATIENT, append=self.append)

    def append(self, file, offset, head, first, chain, records, /):
        """Write records as the log does, or fail."""
        self.goes_on.wait(HANG_SECONDS)
        if self.error is not None:
            os.pwrite(file, (head + b"%d," % first + records[0])[: self.torn], offset)
            raise self.error
        written = self._append(file, offset, head, first, chain, records)
        self.writes, self.file = self.writes + 1, file
        return written

    def settings(self, **settings):
        """Return the settings of a log on this disk."""
        self._settings = replace(self._settings, **settings)
        return self._settings

    def hangs(self):
        """Make all writes hang from now on. The log refuses their callers after its default timeout."""
        self._wait_for(LogSettings().write_timeout)
        self.goes_on.clear()

    def goes(self):
        """Let hanging writes go on. The log waits for later writes as long as before."""
        self._wait_for(PATIENT.write_timeout)
        self.goes_on.set()

    def _wait_for(self, seconds):
        object.__setattr__(self._settings, "write_timeout", seconds)  # an open log reads it for each record

    def fails(self, number=5, text="Input/output error"):
        """Make all writes fail from now on."""
        self.error = OSError(number, text)

    def works(self):
        """Make all writes succeed from now on."""
        self.error = None
