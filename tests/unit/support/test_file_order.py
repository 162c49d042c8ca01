"""The longest test files start first, and a run prints what the order is made from."""

from __future__ import annotations

from types import SimpleNamespace

from tests.support.file_order import file_seconds, pytest_collection_modifyitems
from tests.support.file_times import FileTimes
from tests.support.tree import ROOT


def item(path, number):
    return SimpleNamespace(path=ROOT / path, number=number)


def report(path, when, duration, stop):
    return SimpleNamespace(nodeid=f"{path}::test_one[a::b]", when=when, duration=duration, stop=stop)


def test_every_listed_file_exists():
    """A file that was renamed or removed is renamed or removed in the list too."""
    assert [path for path in file_seconds() if not (ROOT / path).is_file()] == []


def test_long_files_come_first_and_the_others_keep_their_order():
    """The longest file is first. The tests of a file, and the files that are not listed, keep their order."""
    longest, second = sorted(file_seconds(), key=file_seconds().get, reverse=True)[:2]
    paths = ("tests/b.py", second, "tests/a.py", longest, second)
    items = [item(path, number) for number, path in enumerate(paths)]
    pytest_collection_modifyitems(items)
    assert [each.number for each in items] == [3, 1, 4, 0, 2]


def test_the_times_of_a_run_are_summed_up():
    """The seconds of a file, the part of its fixtures, and the time that a worker waited at the end."""
    times = FileTimes()
    times.add(report("tests/long.py", "setup", 20.0, 100.0), "gw0")
    times.add(report("tests/long.py", "call", 30.0, 130.0), "gw0")
    times.add(report("tests/short.py", "call", 5.0, 90.0), "gw1")
    assert times.lines() == [
        "all files: 55 s, 20 s of them in fixtures; idle at the end: gw0 0 s, gw1 40 s",
        "   50 tests/long.py (20 s in fixtures)",
    ]
