"""The check of commit messages, on messages and on repositories that the tests make."""

from __future__ import annotations

import subprocess

import pytest

from checks.commit_messages import FIRST, faults_of, looks_imperative, main, new_commits

BODY = "\n\nCallers had to compile the filter a second time.\n"
GOOD = f"Reuse the prepared filter{BODY}"


@pytest.mark.parametrize(
    "message",
    [
        GOOD,
        f"{'Add'.ljust(72, 'x')}{BODY}",
        f"Embed the schema{BODY}",
        f"Bring the index up to date{BODY}",
        f"Process rows in order{BODY}",
        f"Pass the barrier as an argument{BODY}",
        f"Re-read the registry{BODY}",
        "Merge branch 'a'",
        'Revert "Reuse the prepared filter"',
        "Format after rebase",
        f"{GOOD}\nSigned-off-by: A <a@example.com>\n",
    ],
)
def test_a_good_message_has_no_faults(message):
    """An imperative title and a reason; what git writes by itself needs no reason."""
    assert faults_of(message) == []


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (f"{'Add'.ljust(73, 'x')}{BODY}", "73 characters"),
        (f"Reuse the prepared filter.{BODY}", "full stop"),
        ("Reuse the prepared filter\nbecause it was compiled a second time", "second line is not blank"),
        ("Reuse the prepared filter", "no body"),
        ("Reuse the prepared filter\n\n\n", "no body"),
        ("Reuse the prepared filter\n\nSigned-off-by: Anne Example <anne@example.com>", "no body"),
        (f"reuse the prepared filter{BODY}", "imperative"),
        (f"Kernel: one way to write hexadecimal{BODY}", "imperative"),
        (f"Tests share the keys{BODY}", "imperative"),
        (f"The prepared filter is reused{BODY}", "imperative"),
        (f"Reused the prepared filter{BODY}", "imperative"),
        (f"Reusing the prepared filter{BODY}", "imperative"),
        (f"Reuses the prepared filter{BODY}", "imperative"),
        (f"441 is not a verb{BODY}", "imperative"),
    ],
)
def test_a_fault_of_a_message_is_named(message, fault):
    """Each rule of CONTRIBUTING.md has a message that breaks it alone."""
    (found,) = faults_of(message)
    assert fault in found


def test_an_empty_title_is_not_imperative():
    """A message without a first word is refused without an error."""
    assert not looks_imperative("")


@pytest.fixture
def repository(tmp_path):
    """An empty repository; calling it runs git in it."""

    def git(*arguments):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        command = ["git", *identity, "-C", str(tmp_path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q", "-b", "main")
    git.root = tmp_path
    return git


def commit(git, message, path="file"):
    """Commit a change of a file; return the id of the commit."""
    file = git.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(message)
    git("add", "-A")
    git("commit", "-q", "-m", message)
    return git("rev-parse", "HEAD")


def test_commits_after_the_one_that_added_the_check_are_checked(repository):
    """Older messages can't be changed, so that they are exempt without a list."""
    commit(repository, "what was done before")
    assert new_commits(repository.root) == []
    commit(repository, "Add the check", FIRST)
    assert new_commits(repository.root) == []
    first, second = commit(repository, "one"), commit(repository, "two")
    assert new_commits(repository.root) == [second, first]


def test_a_change_of_the_check_exempts_nothing(repository):
    """Only the commit that added the file is a base, not one that changed it, deleted it or added it again."""
    commit(repository, "Add the check", FIRST)
    changed = commit(repository, "Change the check", FIRST)
    (repository.root / FIRST).unlink()
    deleted = commit(repository, "Delete the check")
    added = commit(repository, "Add the check again", FIRST)
    assert new_commits(repository.root) == [added, deleted, changed]


def test_commits_before_a_tag_are_not_checked(repository):
    """What was released is final."""
    commit(repository, "Add the check", FIRST)
    commit(repository, "one")
    repository("tag", "v1")
    second = commit(repository, "two")
    assert new_commits(repository.root) == [second]


def test_a_tag_on_another_branch_exempts_nothing(repository):
    """A tag counts only if the branch contains it."""
    commit(repository, "Add the check", FIRST)
    repository("switch", "-q", "-c", "other")
    commit(repository, "elsewhere")
    repository("tag", "v1")
    repository("switch", "-q", "main")
    second = commit(repository, "two")
    assert new_commits(repository.root) == [second]


def test_commits_of_a_merged_branch_are_checked(repository):
    """A branch that began before the check is checked when it is merged after it."""
    commit(repository, "begin")
    repository("switch", "-q", "-c", "other")
    branch = commit(repository, "on a branch", "other")
    repository("switch", "-q", "main")
    commit(repository, "Add the check", FIRST)
    repository("merge", "-q", "--no-ff", "other", "-m", "Merge branch 'other'")
    assert branch in new_commits(repository.root)


def test_a_shallow_clone_is_checked_as_far_as_it_goes(repository, tmp_path_factory):
    """In a clone of depth 2 the older of both commits is the base, because it adds all files."""
    for title in ("Add the check", "one", "two"):
        newest = commit(repository, title, FIRST)
    clone = tmp_path_factory.mktemp("clone")
    repository("clone", "-q", "--depth", "2", f"file://{repository.root}", str(clone))
    assert new_commits(clone) == [newest]


def test_outside_a_repository_nothing_is_checked(tmp_path):
    """A source archive has no commits."""
    assert new_commits(tmp_path) == []


def test_the_check_names_commit_and_fault(repository, capsys):
    """A fault is one line with the commit's id and title, and the exit code is 1; without a fault it is 0."""
    commit(repository, "Add the check", FIRST)
    commit(repository, GOOD)
    assert main(repository.root) == 0
    bad = commit(repository, f"Figures of visibility{BODY}")
    assert main(repository.root) == 1
    line = capsys.readouterr().err.splitlines()[0]
    assert line.startswith(f"{bad[:10]} 'Figures of visibility': the title does not begin")
