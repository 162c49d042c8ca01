"""The table of SECURITY.md: each claim with its evidence and the tests that passed. `make claims` writes it."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CLAIMS = Path(__file__).with_name("claims.toml")
OUTCOMES = Path(".pytest_cache", "claims.json")
"""Path of the outcomes, relative to the root of a test run."""
PAGE = ROOT / "SECURITY.md"
BEGIN, END = "<!-- claims: made by `make claims` -->\n", "<!-- /claims -->"


def claims():
    """Return all claims."""
    return tomllib.loads(CLAIMS.read_text(encoding="utf-8"))["claim"]


def proved(claim, outcomes):
    """Return whether every test of a claim passed in its last run."""
    return bool(claim["tests"]) and all(outcomes.get(test) == "passed" for test in claim["tests"])


def rendered(outcomes):
    """Return the table of the proved claims."""
    lines = ["| | Temporal Cloud says | here | proved by |", "|---|---|---|---|"]
    for claim in claims():
        if proved(claim, outcomes):
            tests = "; ".join(
                f"[{test.split('::test_')[1].replace('_', ' ')}]({test.split('::')[0]})" for test in claim["tests"]
            )
            lines.append(f"| {claim['id']} | {claim['theirs']} | {claim['ours']} | {tests} |")
    return "\n".join(lines) + "\n"


def written(page, outcomes):
    """Return the page with the table."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + rendered(outcomes) + END + rest.split(END, 1)[1]


def main():
    """Write the page, and print the claims that are left out. The exit code is 1 if there are any."""
    path = ROOT / OUTCOMES
    outcomes = json.loads(path.read_text()) if path.exists() else {}
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), outcomes), encoding="utf-8")
    missing = [claim for claim in claims() if not proved(claim, outcomes)]
    for claim in missing:
        for test in claim["tests"]:
            if outcomes.get(test) != "passed":
                sys.stderr.write(f"{claim['id']} is left out: {test}: {outcomes.get(test, 'not run')}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
