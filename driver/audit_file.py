"""What is told of keys and of the codec server, as JSON lines in a file: each on disk before what it tells of goes on."""

from __future__ import annotations

import asyncio
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from .config import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.kms import KeyEvent

    from .codec_audit import CodecEvent


class JsonLinesAudit:
    """Appends to a file of mode 0600; see `strongroom.kms.KeyAudit` and `CodecAudit`.

    Args:
        path: of the file, which is made where it is missing. Several processes may append to one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def record(self, event: KeyEvent | CodecEvent) -> None:
        """Append an event.

        Raises:
            ConfigError: the file can't be written, so what was about to be done is not.
        """
        told = {name: value for name, value in asdict(event).items() if value is not None}
        await asyncio.to_thread(self._append, orjson.dumps(told, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE))

    def _append(self, line: bytes) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                os.write(descriptor, line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            msg = f"the audit file {self._path} can't be written, so nothing was done: {error.strerror}"
            raise ConfigError(msg) from None
