"""Code blocks of the pages in docs/, so that tests run what a page says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FENCE = "```"


class CodeBlock(NamedTuple):
    """A fenced code block of a page.

    Attributes:
        language: The first word of the fence, such as `sh`, `python` or `ini`; "" without one.
        label: The rest of the fence's line, such as the name of a file; "" without one.
        text: The lines between the fences, without the indentation of the opening fence, which a block in a list has.
        line: The number of the opening fence's line, from 1.
    """

    language: str
    label: str
    text: str
    line: int


def code_blocks(page: Path) -> list[CodeBlock]:
    """Return the fenced code blocks of a page, in their order.

    Raises:
        ValueError: The last block has no closing fence.
    """
    return list(_blocks(page.read_text(encoding="utf-8").splitlines()))


def _blocks(lines: list[str]) -> Iterator[CodeBlock]:
    opening: int | None = None
    for number, line in enumerate(lines):
        if not line.lstrip().startswith(FENCE):
            continue
        if opening is None:
            opening = number
            continue
        first = lines[opening]
        indentation = first[: len(first) - len(first.lstrip())]
        language, _, label = first.strip().removeprefix(FENCE).strip().partition(" ")
        text = [each.removeprefix(indentation) for each in lines[opening + 1 : number]]
        yield CodeBlock(language, label.strip(), "\n".join([*text, ""]), opening + 1)
        opening = None
    if opening is not None:
        msg = f"the code block that begins in line {opening + 1} has no end"
        raise ValueError(msg)
