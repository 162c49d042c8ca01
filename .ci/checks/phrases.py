"""Refuses phrases that have to be read twice; `phrases.txt` has each with its replacement.

Usage:
    make phrases            the whole tree
    make phrases IN=driver  one folder
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from checks.prose import is_read, prose_of
from checks.tree import ROOT, report, tracked_files

LIST = Path(__file__).with_name("phrases.txt")
EXEMPT = ("benchmarks/report/", "requirements/", "tests/vectors/", "LICENSE")
"""Data, generated files, and texts that others wrote."""
ADVICE = "Rewrite the sentence: .ci/checks/phrases.txt has a replacement for each phrase."


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase that is refused."""

    pattern: re.Pattern[str]
    replacement: str
    example: str
    """A sentence that the pattern must catch."""


def load_phrases(text: str) -> list[Phrase]:
    """Return the phrases of a list.

    Raises:
        ValueError: a line does not have the three parts pattern, replacement and example.
    """
    phrases = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            parts = [part.strip() for part in line.split(" => ")]
            if len(parts) != 3:  # noqa: PLR2004 - as the format of the file has it
                raise ValueError(f"{line!r} is not PATTERN => REPLACEMENT => EXAMPLE")
            pattern = re.compile(parts[0].replace(" ", r"\s+"), re.IGNORECASE | re.MULTILINE)
            phrases.append(Phrase(pattern, parts[1], parts[2]))
    return phrases


def faults_in(name: str, content: str, phrases: list[Phrase]) -> list[str]:
    """Return a line for each phrase that the prose of a file contains."""
    faults = []
    for prose in prose_of(name, content):
        for phrase in phrases:
            for match in phrase.pattern.finditer(prose.text):
                start = match.start() + len(match[0]) - len(match[0].lstrip())
                line = prose.line + prose.text.count("\n", 0, start)
                words = " ".join(match[0].split())
                faults.append((line, f'{name}:{line}: "{words}": write {phrase.replacement}'))
    return [fault for _, fault in sorted(faults)]


def main(folders: list[str]) -> int:
    """Check the tree, or the folders and files that are named; return the exit code."""
    phrases = load_phrases(LIST.read_text())
    faults = []
    for path in tracked_files():
        name = path.as_posix()
        is_asked_for = not folders or any(path.is_relative_to(folder) for folder in folders)
        if is_asked_for and is_read(path.name) and not name.startswith(EXEMPT):
            faults += faults_in(name, (ROOT / path).read_text(), phrases)
    return report(faults, ADVICE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
