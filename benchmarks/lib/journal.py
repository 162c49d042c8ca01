"""Figures in a file, one JSON object a line. Each is written when it is measured, so that an interrupted run loses nothing."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from benchmarks.lib.part import commit, conditions, rounded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Journal:
    """The figures of a benchmark, by place, for example round, operation and number of callers.

    A journal that exists is continued: places that it has are not measured again. An incomplete last line is cut off.

    Attributes:
        entries: The figures by place. A place is a tuple of names and values.

    Args:
        path: The file; None keeps the figures in memory.
        settings: What makes figures comparable, for example the length of a measurement. A journal with other settings, or of another
            commit, begins again.
    """

    def __init__(self, path: Path | None, **settings: Any) -> None:
        self.entries: dict[tuple[tuple[str, Any], ...], Any] = {}
        self._path = path
        if path is None:
            return
        whole = path.read_bytes() if path.exists() else b""
        lines = [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]
        if lines and (lines[0]["settings"], lines[0].get("commit")) == (rounded(settings), commit()):
            with path.open("r+b") as file:
                file.truncate(whole.rfind(b"\n") + 1)
            self.entries = {tuple(line["place"].items()): line["figures"] for line in lines[1:]}
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        self._append({"settings": settings, "commit": commit(), "conditions": conditions()})

    def has(self, **place: Any) -> bool:
        """Return whether a place was measured."""
        return tuple(place.items()) in self.entries

    def add(self, figures: Any, **place: Any) -> None:
        """Add the figures of a place, and write them to disk."""
        self.entries[tuple(place.items())] = figures
        self._append({"place": place, "figures": figures})

    def rounds(self, **place: Any) -> list[Any]:
        """Return the figures of all rounds of a place, in order."""
        found = [(dict(at), figures) for at, figures in self.entries.items()]
        return [figures for at, figures in found if {key: at[key] for key in at if key != "round"} == place]

    def _append(self, line: Mapping[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(json.dumps(rounded(line), separators=(",", ":")).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
