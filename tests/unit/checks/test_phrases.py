"""The list of refused phrases, and how a file's prose is found."""

from __future__ import annotations

import pytest

from checks import phrases
from checks.phrases import LIST, faults_in, load_phrases
from checks.prose import is_read, prose_of

PHRASES = load_phrases(LIST.read_text())
REFUSED = load_phrases("\\bfoo bar\\b => bar => A foo bar.")


@pytest.mark.parametrize("phrase", PHRASES, ids=lambda phrase: phrase.pattern.pattern)
def test_the_example_of_each_phrase_is_caught(phrase):
    """A control for each pattern: an example that no pattern catches would prove nothing."""
    assert phrase.pattern.search(phrase.example), phrase.example


@pytest.mark.parametrize(
    "sentence",
    [
        "A token stands for a value.",
        "A stand-in for Citus.",
        "The standard library, a standing order.",
        "Besides the row, its key is stored.",
        "The wall clock of the server; wall time.",
        "This adjusts the limit; an adjustment.",
        "Who may read the audit log?",
        "The user who holds the lock.",
        "The layer is closed; an unlayered store relies on it.",
        "Messages are shelled; a shareholder; the ledger.",
        "So many rows exist that a page is not enough.",
        "The index becomes official.",
    ],
)
def test_ordinary_sentences_are_not_refused(sentence):
    """A word that only contains a refused one, or is used in another sense, is no fault."""
    assert faults_in("page.md", sentence, PHRASES) == []


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.py", '"""A module.\n\nA foo bar.\n"""\n', 3),
        ("a.py", "x = 1\ny = 2  # a foo bar\n", 2),
        ("a.py", "# a foo\n# bar\n", 1),
        ("a.py", 'raise ValueError(f"a foo bar of {x}")\n', 1),
        ("a.py", 'x = "a foo " "bar"\n', 1),
        ("a.md", "# Title\n\nA foo\nbar.\n", 3),
        ("a.sql", "SELECT 1;\n-- a foo\n-- bar\n", 2),
        ("a.sql", "SELECT 1; -- a Foo bar\n", 1),
        ("a.rs", "//! a foo bar\n", 1),
        ("a.rs", "let x = 1; /// a foo bar\n", 1),
        ("a.go", "// a foo bar\n", 1),
        ("a.toml", "x = 1 # a foo bar\n", 1),
        ("Makefile", "all: ## a foo bar\n", 1),
    ],
)
def test_prose_of_each_kind_of_file_is_read(name, content, line):
    """Comments, docstrings, messages and pages; a phrase over a line break is found on its first line."""
    (fault,) = faults_in(name, content, REFUSED)
    assert fault.startswith(f"{name}:{line}: ")
    assert fault.endswith(": write bar")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.py", "foo = bar\nfoo.bar(foo, bar)\n"),
        ("a.py", '"""Return what `foo bar` returned."""\n'),
        ("a.md", "A `foo bar`, and ``foo bar`` again.\n"),
        ("a.md", "```\nfoo bar\n```\n"),
        ("a.md", "~~~ text\nfoo bar\n~~~\n"),
        ("a.md", "    foo bar\n"),
        ("a.md", "<!-- claims: written by `make` -->\nfoo bar\n<!-- /claims -->\n"),
        ("a.sql", "SELECT foo bar;\n"),
        ("a.toml", 'foo = "bar" \n'),
    ],
)
def test_code_is_not_read(name, content):
    """Names of the code keep their words: only sentences are checked."""
    assert faults_in(name, content, REFUSED) == []


def test_text_after_a_fenced_block_is_read():
    """A block that is closed hides nothing of what follows it."""
    assert len(faults_in("a.md", "```\nfoo bar\n```\nA foo bar.\n", REFUSED)) == 1


def test_text_after_a_generated_part_is_read():
    """A generated part ends with its own mark."""
    page = "<!-- a: made -->\nfoo bar\n<!-- /a -->\nfoo bar\n<!-- b: made -->\nfoo bar\n<!-- /b -->\n"
    (fault,) = faults_in("a.md", page, REFUSED)
    assert fault.startswith("a.md:4:")


def test_each_file_type_that_is_read_has_prose():
    """A file type without a way to find its prose would pass unread."""
    for name in ("a.py", "a.md", "a.sql", "a.rs", "a.go", "a.java", "a.toml", "a.yaml", "a.sh", "Makefile"):
        assert is_read(name)
        prose_of(name, "")
    assert not is_read("a.png")
    assert not is_read("LICENSE")


@pytest.mark.parametrize("line", ["a", "a => b", "a => b => c => d"])
def test_a_line_that_lacks_a_part_is_refused(line):
    """A pattern without a replacement or an example can't be added."""
    with pytest.raises(ValueError, match="PATTERN => REPLACEMENT => EXAMPLE"):
        load_phrases(line)


@pytest.fixture
def tree_of_two_files(tmp_path, monkeypatch):
    """A tree in which each of two files has a phrase."""
    (tmp_path / "list.txt").write_text("foo => bar => foo\n")
    (tmp_path / "one.md").write_text("foo")
    (tmp_path / "two.md").write_text("foo")
    (tmp_path / "image.png").write_bytes(b"\xff")
    monkeypatch.setattr(phrases, "ROOT", tmp_path)
    monkeypatch.setattr(phrases, "LIST", tmp_path / "list.txt")
    monkeypatch.setattr(phrases, "tracked_files", lambda: sorted(p.relative_to(tmp_path) for p in tmp_path.iterdir()))
    return tmp_path


@pytest.mark.usefixtures("tree_of_two_files")
@pytest.mark.parametrize(
    ("arguments", "code", "faulty"),
    [
        ([], 1, ["one.md", "two.md"]),
        (["two.md"], 1, ["two.md"]),
        (["image.png"], 0, []),
    ],
)
def test_the_check_names_the_files_that_it_was_asked_for(arguments, code, faulty, capsys):
    """The exit code is 1 if there is a fault, and each fault is on a line of its own with its file."""
    assert phrases.main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == faulty
