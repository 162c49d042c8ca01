"""The pages of the tree lead to files that exist."""

from __future__ import annotations

import re

import pytest

from checks.tree import tracked_files
from tests.support.tree import ROOT

LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")
PAGES = [
    path for path in tracked_files() if path.suffix == ".md" and not path.as_posix().startswith("benchmarks/report/")
]


def broken_links(page, text):
    """Return the targets of relative links that don't exist."""
    return [target for target in LINK.findall(text) if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_to_a_file(page):
    """A page that was moved takes its links with it."""
    assert broken_links(ROOT / page, (ROOT / page).read_text()) == []


def test_a_broken_link_is_found(tmp_path):
    """A control, and links that are not relative."""
    (tmp_path / "there.md").touch()
    text = "[a](there.md#part) [b](absent.md) [c](https://example.com/x) [d](#part)"
    assert broken_links(tmp_path / "page.md", text) == ["absent.md"]


def test_the_index_names_every_page():
    """A page that docs/README.md does not name is not found by a reader."""
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")} - {"README.md"}
    linked = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    assert pages <= linked
