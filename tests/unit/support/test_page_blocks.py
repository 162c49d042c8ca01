"""The code blocks of a page are found with their language, label and text."""

from __future__ import annotations

import pytest

from tests.support.pages import CodeBlock, code_blocks


def test_blocks_have_their_language_and_label(tmp_path):
    """A fence may name a language and a file; text outside of fences is no block."""
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n```python service.py\nimport os\n\nos.getcwd()\n```\n\n```\nplain\n```\n")
    assert code_blocks(page) == [
        CodeBlock("python", "service.py", "import os\n\nos.getcwd()\n", 3),
        CodeBlock("", "", "plain\n", 9),
    ]


def test_a_block_without_an_end_is_an_error(tmp_path):
    """Otherwise the rest of the page would not be tested."""
    page = tmp_path / "page.md"
    page.write_text("```sh\nls\n")
    with pytest.raises(ValueError, match="line 1 has no end"):
        code_blocks(page)
