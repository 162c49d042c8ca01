"""docs/how-to/troubleshooting.md has an entry for each error that a caller can get."""

from __future__ import annotations

import importlib
import pkgutil
import re

import strongroom
from strongroom.kms import StrongroomError
from tests.support.tree import ROOT

PAGE = (ROOT / "docs" / "how-to" / "troubleshooting.md").read_text()
ENTRY = re.compile(r"^\| `(\w+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def errors(of=StrongroomError):
    """Return an error class of the product and all of its subclasses, by name."""
    for module in pkgutil.walk_packages(strongroom.__path__, "strongroom."):
        if not module.name.startswith(
            "strongroom.driver.cli."
        ):  # its entry point handles signals as soon as it is imported
            importlib.import_module(module.name)
    found, waiting = {}, [of]
    while waiting:
        each = waiting.pop()
        waiting += each.__subclasses__()
        if each.__module__.startswith("strongroom."):
            found[each.__name__] = each
    return found


def differences(names, text):
    """Return the names of errors without an entry, and the entries without an error."""
    described = [entry[0] for entry in ENTRY.findall(text)]
    return sorted({name for name in names if described.count(name) != 1} | (set(described) - set(names)))


def test_each_error_has_one_entry():
    """Each error has one entry, with its cause and what to do. Each entry names an error that exists."""
    assert differences(errors(), PAGE) == []
    assert all(cause.strip() and advice.strip() for _, cause, advice in ENTRY.findall(PAGE))


def test_a_missing_entry_and_one_too_many_are_found():
    """Control: an error without an entry, and an entry without an error."""
    text = PAGE.replace("| `KeyInUse` |", "| `KeyGone` |")
    assert differences(errors(), text) == ["KeyGone", "KeyInUse"]
