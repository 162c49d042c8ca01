"""Docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from typing import Any

_SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
_ENTRY = re.compile(r"^([\w., *\[\]]+): (.*)$")
_WIDTH = 100


def markdown(subject: Any) -> str:
    """Return the docstring of an object as Markdown: its text, and a list for each section such as Args and Raises."""
    text = inspect.getdoc(subject) or ""
    lines, found, section = text.splitlines(), [], ""
    for line in lines:
        heading = _SECTION.match(line)
        if heading:
            section = heading[1]
            found += ["", f"**{section}**", ""]
        elif section and line.startswith("    "):
            found += _entry(line[4:], section)
        else:
            section = section if not line else ""
            found.append(line)
    return "\n".join(found).strip() + "\n"


def summary(subject: Any) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join((inspect.getdoc(subject) or "").partition("\n\n")[0].split())


def signature(name: str, function: Any) -> str:
    """Return the signature of a function with its types, without `self`."""
    found = inspect.signature(inspect.unwrap(function))
    parameters = [each for each in found.parameters.values() if each.name not in {"self", "cls"}]
    text = str(found.replace(parameters=parameters)).replace("'", "")
    text = re.sub(r"<[^,]*? at 0x[0-9a-f]+>", "...", re.sub(r"strongroom\.[\w.]+\.(\w+)", r"\1", text))
    begin = "async def" if inspect.iscoroutinefunction(inspect.unwrap(function)) else "def"
    line = f"{begin} {name}{text}"
    return line if len(line) <= _WIDTH else _broken(begin, name, text)


def _broken(begin: str, name: str, text: str) -> str:
    """Return a signature with one parameter in a line. A comma within brackets ends no parameter."""
    depth, parts, part = 0, [], ""
    inside, _, result = text[1:].rpartition(")")
    for character in inside:
        depth += (character in "[({") - (character in "])}")
        if character == "," and not depth:
            parts.append(part.strip())
            part = ""
        else:
            part += character
    return "\n".join([f"{begin} {name}(", *(f"    {each}," for each in [*parts, part.strip()]), f"){result}"])


def _entry(line: str, section: str) -> list[str]:
    """Return an entry of a section as an item of a list. A deeper line continues the item above it."""
    if line.startswith("    "):
        return [f"  {line.strip()}"]
    entry = _ENTRY.match(line)
    if entry and section not in {"Returns", "Yields"}:
        return [f"- `{entry[1]}`: {entry[2]}"]
    return [line]
