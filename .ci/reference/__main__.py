"""Writes every generated page of the reference into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from reference import api, commands, errors, metrics, public, tables
from strongroom.driver.config.reference import reference as configuration


def pages() -> dict[str, str]:
    """Return the text of each generated file of docs/reference, by its name."""
    return {
        **configuration(),
        "api.md": api.page(),
        "public-names.txt": public.listing(),
        "commands.md": commands.page(),
        "errors.md": errors.page(),
        "metrics.md": metrics.page(),
        "operations.md": tables.operations(),
        "record-kinds.md": tables.record_kinds(),
    }


def main() -> None:
    """Write the pages into the folder that the command line names."""
    folder = Path(sys.argv[1])
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
