"""Finds the prose of a file: comments, docstrings and messages of code, and the paragraphs of a page.

Names of the code are not prose, so text between backticks and fenced blocks are left out. So are the generated parts of a page,
between `<!-- name: ... -->` and `<!-- /name -->`.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LINE_COMMENTS = {
    ".sql": "--",
    ".rs": "//",
    ".go": "//",
    ".java": "//",
    ".js": "//",
    ".toml": "#",
    ".yaml": "#",
    ".sh": "#",
    ".mk": "#",
    "": "#",
}
_FENCE = re.compile(r"^ *(```|~~~)")
_GENERATED = re.compile(r"^<!-- (\w+): .*? -->$.*?^<!-- /\1 -->$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)(`+)(?!`)([^`]|\n)+?\1(?!`)")


@dataclass(frozen=True, slots=True)
class Prose:
    """A connected piece of prose."""

    line: int
    """The line of the file on which the text begins, from 1."""
    text: str


def is_read(name: str) -> bool:
    """Return whether a file of this name can have prose that this module finds."""
    return name == "Makefile" or _suffix(name) in {".py", ".md", *_LINE_COMMENTS} - {""}


def prose_of(name: str, content: str) -> list[Prose]:
    """Return the prose of a file, without code."""
    suffix = _suffix(name)
    if suffix == ".py":
        found = [*_python_comments(content), *_python_strings(content)]
    elif suffix == ".md":
        found = [_page(content)]
    else:
        found = list(_joined(_comment_lines(content, _LINE_COMMENTS[suffix])))
    return [Prose(piece.line, _without_code(piece.text)) for piece in found]


def _suffix(name: str) -> str:
    return "" if name == "Makefile" else name[name.rfind(".") :] if "." in name else name


def _without_code(text: str) -> str:
    return _CODE.sub(lambda code: "``" + "\n" * code[0].count("\n"), text)


def _python_comments(content: str) -> Iterator[Prose]:
    tokens = tokenize.generate_tokens(io.StringIO(content).readline)
    comments = ((token.start[0], token.string.lstrip("#")) for token in tokens if token.type == tokenize.COMMENT)
    return _joined(comments)


def _python_strings(content: str) -> Iterator[Prose]:
    """Return each literal of several words: docstrings, messages, and the parts of an f-string."""
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield Prose(node.lineno, node.value)


def _page(content: str) -> Prose:
    lines, fenced = [], False
    for line in _GENERATED.sub(lambda part: "\n" * part[0].count("\n"), content).split("\n"):
        is_fence = bool(_FENCE.match(line))
        fenced ^= is_fence
        is_code = fenced or is_fence or line.startswith(("    ", "\t"))
        lines.append("" if is_code else line)
    return Prose(1, "\n".join(lines))


def _comment_lines(content: str, marker: str) -> Iterator[tuple[int, str]]:
    pattern = re.compile(rf"(?:^|\s){re.escape(marker)}+!?(\s.*)?$")
    for number, line in enumerate(content.split("\n"), 1):
        if comment := pattern.search(line):
            yield number, comment[1] or ""


def _joined(lines: Iterable[tuple[int, str]]) -> Iterator[Prose]:
    """Join comments on consecutive lines, because a phrase can be broken over two of them."""
    start, texts = 0, list[str]()
    for number, text in lines:
        if texts and number != start + len(texts):
            yield Prose(start, "\n".join(texts))
            texts = []
        start = start if texts else number
        texts.append(text)
    if texts:
        yield Prose(start, "\n".join(texts))
