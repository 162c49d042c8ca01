"""How Sphinx builds the pages: `make docs`.

The source folder is the whole tree, because pages outside docs/ belong to the documentation, such as SECURITY.md and kms/FORMAT.md.
The navigation is read from docs/README.md, which people also read in the repository. So there is one index.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
INDEX = "docs/README"

project = "Strongroom"
copyright = "the authors of Strongroom"  # noqa: A001 (Sphinx's name)
root_doc = INDEX
extensions = ["myst_parser"]
include_patterns = ["docs/**.md", "*.md", "*/*.md", "kms/providers/*/*.md", "examples/*/*.md", "benchmarks/report/*.md"]
exclude_patterns = [".*", "**/.*", "build", "dist", "kernel/target", "temporal/bin", "benchmarks/sealing"]
nitpicky = True
suppress_warnings = ["toc.not_included", "misc.highlighting_failure"]  # only the index has a navigation
myst_heading_anchors = 4

html_theme = "furo"
html_title = "Strongroom"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False

SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)\.md\)")


def navigation(index: str) -> str:
    """Return a hidden table of contents for each section of the index, with the pages that the section links to."""
    parts = SECTION.split(index)[1:]
    return "".join(
        "\n```{toctree}\n:hidden:\n:caption: "
        + caption
        + "\n\n"
        + "\n".join(dict.fromkeys(LINK.findall(text)))
        + "\n```\n"
        for caption, text in zip(parts[::2], parts[1::2], strict=True)
        if LINK.search(text)
    )


def add_navigation(app: Sphinx, docname: str, content: list[str]) -> None:
    """Append the navigation to the index when Sphinx reads it."""
    del app
    if docname == INDEX:
        content[0] += navigation(content[0])


def lead_to_the_index(app: Sphinx, error: Exception | None) -> None:
    """Write an index.html in the folder that was built, which leads to the first page."""
    if error is None:
        Path(app.outdir, "index.html").write_text(f'<meta http-equiv="refresh" content="0; url={INDEX}.html">\n')


def setup(app: Sphinx) -> None:
    """Connect the steps of this file."""
    app.connect("source-read", add_navigation)
    app.connect("build-finished", lead_to_the_index)
