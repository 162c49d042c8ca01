"""Checks the messages of the newest commits: an imperative title of at most 72 characters, a blank line, and a body that says why.

The check begins after the commit that added this file, or after the newest tag if that is later, so that it needs no list of
exceptions. A shallow clone is checked as far as its history goes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from checks.tree import ROOT, git, report

if TYPE_CHECKING:
    from pathlib import Path

LONGEST_TITLE = 72
SHORTEST_BODY = 20
FIRST = ".ci/checks/commit_messages.py"
ADVICE = (
    "Change the message with 'git commit --amend', or with 'git rebase -i' for an older commit; see CONTRIBUTING.md."
)

_BODILESS = ("Merge ", "Revert ", "Format ")
"""Commits that git writes, or whose reason is their title."""
_TRAILER = re.compile(r"^[A-Z][A-Za-z-]+: \S.*$", re.MULTILINE)
_NOT_VERBS = frozenset(
    "a an the this that these those it its one no new some all each every what how why when where which who for from of in on to by "
    "with without if as and or but there here more less fewer only not tests figures small large better faster".split()
)
_VERBS_IN_ED = frozenset("bleed embed exceed feed need proceed seed shed speed succeed weed".split())
_VERBS_IN_ING = frozenset("bring fling ping ring sing spring string swing".split())
_VERBS_IN_S = frozenset("alias bias bypass canvas focus process".split())


def faults_of(message: str) -> list[str]:
    """Return what is wrong with a commit message."""
    title, _, rest = message.strip().partition("\n")
    faults = []
    if len(title) > LONGEST_TITLE:
        faults.append(f"the title has {len(title)} characters; the limit is {LONGEST_TITLE}")
    if not looks_imperative(title):
        faults.append('the title does not begin with a verb in the imperative, such as "Add" or "Reuse"')
    if title.endswith("."):
        faults.append("the title ends with a full stop")
    if rest and not rest.startswith("\n"):
        faults.append("the second line is not blank")
    if len(_TRAILER.sub("", rest).strip()) < SHORTEST_BODY and not title.startswith(_BODILESS):
        faults.append("no body says why")
    return faults


def looks_imperative(title: str) -> bool:
    """Return whether a title begins with a capital letter and with a word that can be an imperative.

    Nouns can't be recognised without a dictionary, so that only the usual mistakes are found: an article, a past tense, a
    participle, a third person, and a prefix with a colon.
    """
    first, _, _ = title.partition(" ")
    word = first.lower()
    if not re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)*", first) or word in _NOT_VERBS:
        return False
    if word.endswith("ed"):
        return word in _VERBS_IN_ED
    if word.endswith("ing"):
        return word in _VERBS_IN_ING
    if word.endswith("s") and not word.endswith("ss"):
        return word in _VERBS_IN_S
    return True


def new_commits(root: Path = ROOT) -> list[str]:
    """Return the ids of the commits to check, the newest first; none outside a repository."""
    try:
        added = git("log", "--diff-filter=A", "--format=%H", "--", FIRST, root=root).split()
        tags = git("tag", "--merged", "HEAD", root=root).split()
        exempt = [f"^{base}" for base in (*added[-1:], *tags)]
        return git("rev-list", "HEAD", *exempt, root=root).split() if added else []
    except subprocess.CalledProcessError:
        return []


def main(root: Path = ROOT) -> int:
    """Check the newest commits of a repository; return the exit code."""
    faults = []
    for commit in new_commits(root):
        message = git("show", "--no-patch", "--format=%B", commit, root=root)
        title = message.partition("\n")[0]
        faults += [f"{commit[:10]} {title[:60]!r}: {fault}" for fault in faults_of(message)]
    return report(faults, ADVICE)


if __name__ == "__main__":
    sys.exit(main())
