"""The generated pages of docs/reference."""

from __future__ import annotations

import inspect
import re

import click
import pytest

from reference import commands, errors, metrics, tables
from reference.__main__ import pages
from reference.docstrings import markdown
from strongroom.driver.cli.main import cli
from strongroom.driver.telemetry.instruments import INSTRUMENTS
from tests.support.tree import ROOT

FOLDER = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def generated_pages():
    """Text of each generated page, by its name."""
    return pages()


def test_the_pages_are_those_of_the_code(generated_pages):
    """Run `make reference` if this fails."""
    for name, page in generated_pages.items():
        on_disk = (FOLDER / name).read_text(encoding="utf-8")
        assert on_disk.splitlines() == page.splitlines(), name


def test_an_earlier_help_of_a_command_changes_nothing(generated_pages):
    """Click keeps the option of the first help that a process makes of a command."""
    for _, command in commands.commands((), cli):
        command.get_help(click.Context(command, help_option_names=["--other"]))
    assert commands.page() == generated_pages["commands.md"]


def test_a_change_of_the_code_changes_a_page(generated_pages, monkeypatch):
    """The control: another description, another permission."""
    name, instrument = next(iter(INSTRUMENTS.items()))
    other = type(instrument)(name, instrument.kind, instrument.unit, "Another description.")
    monkeypatch.setattr(metrics, "INSTRUMENTS", {**INSTRUMENTS, name: other})
    assert metrics.page() != generated_pages["metrics.md"]
    monkeypatch.setattr(tables, "ACCOUNT_ROLES", {"owner": frozenset()})
    assert tables.operations() != generated_pages["operations.md"]


def test_every_error_is_public_and_in_the_table(generated_pages):
    """Also those of optional parts. A caller can name each error that they may get, without a private module."""
    listed = {kind for _, kind in errors.errors()}
    assert errors.all_errors() - listed == set()
    assert len(listed) > 60
    for kind in listed:
        assert f"| `{kind.__name__}` |" in generated_pages["errors.md"]


def test_every_alert_has_a_meaning():
    """Each rule of the page about telemetry is in the table, with its summary."""
    rules = metrics.RULES.read_text(encoding="utf-8")
    assert list(metrics.alerts()) == re.findall(r"- alert: (\w+)", rules)
    assert all(metrics.alerts().values())


def test_every_command_has_an_example(generated_pages):
    """The text of each command on the page contains one."""
    sections = re.split(r"^## ", generated_pages["commands.md"], flags=re.MULTILINE)[1:]
    assert len(sections) > 60
    assert [each.partition("\n")[0] for each in sections if each.count("strongroom ") < 3] == []


def test_a_docstring_becomes_a_list_of_its_arguments():
    """Sections and continued lines keep their places."""

    def documented():
        """Do it.

        Args:
            one: The first,
                on two lines.
            two: The second.

        Returns:
            The result.
        """

    assert markdown(documented) == (
        "Do it.\n\n\n**Args**\n\n- `one`: The first,\n  on two lines.\n- `two`: The second.\n\n\n**Returns**\n\nThe result.\n"
    )
    assert markdown(inspect) != ""
