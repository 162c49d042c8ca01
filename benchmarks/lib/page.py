"""Put the report's tables between the markers of a page, so that it always shows the measured figures."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sizing.md"

BEGIN = "<!-- written by `make bench`: from here -->"
END = "<!-- written by `make bench`: to here -->"


def block(text: str) -> str:
    """Return the text between the markers.

    Raises:
        ValueError: A marker is missing, or occurs twice.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        msg = f"the page needs one line {BEGIN!r} and after it one line {END!r}"
        raise ValueError(msg)
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip()


def replaced(text: str, table: str) -> str:
    """Return a text with another table between its markers.

    Raises:
        ValueError: A marker is missing, or occurs twice.
    """
    block(text)
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    return f"{before}\n\n{table.strip()}\n\n{after}"
