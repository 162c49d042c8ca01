"""The checks of lengths of files and names of fixtures."""

from __future__ import annotations

import pytest

from checks.layout import fixtures_of, repeated_fixtures, too_long

FIXTURE = "import pytest\n@pytest.fixture\ndef {name}(): pass\n"


@pytest.mark.parametrize(
    ("name", "lines", "is_refused"),
    [
        ("tests/unit/test_a.py", 500, False),
        ("tests/unit/test_a.py", 501, True),
        ("kms/a.py", 300, False),
        ("kms/a.py", 301, True),
        ("benchmarks/lib/a.py", 301, True),
        ("tests/vectors/a.json", 5000, False),
        ("storage/sql/a.sql", 5000, False),
        ("kernel/a.py", 5000, False),
    ],
)
def test_a_python_file_has_a_limit_of_its_folder(name, lines, is_refused):
    """A file at the limit passes, a line more is refused; data and SQL have no limit."""
    assert bool(too_long(name, "x\n" * lines)) == is_refused


@pytest.mark.parametrize(
    "content",
    [
        "@pytest.fixture\ndef cell(): pass\n",
        "@pytest.fixture(scope='session')\nasync def cell(): pass\n",
        "@pytest.fixture(name='cell')\ndef _cell(): pass\n",
        "@fixture\ndef cell(): pass\n",
        "class TestA:\n    @pytest.fixture\n    def cell(self): pass\n",
    ],
)
def test_every_way_to_define_a_fixture_is_found(content):
    """A way that the check doesn't know would let a second definition in."""
    assert [name for name, _ in fixtures_of(content)] == ["cell"]


def test_a_plain_function_is_no_fixture():
    """Helpers may have the same name in several files."""
    assert fixtures_of("@pytest.mark.slow\ndef cell(): pass\ndef other(): pass\n") == []


def test_a_second_definition_of_a_fixture_is_refused():
    """Both places are named."""
    files = {"tests/a.py": FIXTURE.format(name="cell"), "tests/b.py": FIXTURE.format(name="cell")}
    assert repeated_fixtures(files) == ["fixture 'cell' is defined 2 times: tests/a.py:3, tests/b.py:3"]


def test_different_names_are_not_refused():
    """One definition for each name."""
    files = {"tests/a.py": FIXTURE.format(name="cell"), "tests/b.py": FIXTURE.format(name="other_cell")}
    assert repeated_fixtures(files) == []
