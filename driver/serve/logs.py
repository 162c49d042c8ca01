"""The log of the server: one line for each record, without control characters and without tracebacks."""

from __future__ import annotations

import logging
import traceback

LOG = logging.getLogger("strongroom.serve")


class OneLine(logging.Formatter):
    """Formats a record as one line. Of an exception it has the type and the place, because a message may hold a tenant's values."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = f"{self.formatTime(record)} {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {kind_and_place(record.exc_info[1])}"
        return "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
        )


def kind_and_place(error: BaseException) -> str:
    """Return the type of an unexpected exception, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def log_to_stderr() -> None:
    """Write records of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
