"""Remembers how the tests of the security page's claims ended, for `make claims`; see tests/claims."""

from __future__ import annotations

import json

from tests.claims.table import OUTCOMES, claims

_named = {test for claim in claims() for test in claim["tests"]}
_ended: dict[str, str] = {}


def pytest_runtest_logreport(report):
    """A test with parameters has passed if it did with all of them, and was run with any."""
    test = report.nodeid.split("[")[0]
    if test in _named and (report.when == "call" or report.outcome != "passed"):
        worst = {_ended.get(test, "passed"), report.outcome}
        _ended[test] = next(outcome for outcome in ("failed", "skipped", "passed") if outcome in worst)


def pytest_sessionfinish(session):
    """Tests that were not run keep what they had; where tests run in several processes, the one that starts them has all reports."""
    if _ended and not hasattr(session.config, "workerinput"):
        path = session.config.rootpath / OUTCOMES
        kept = json.loads(path.read_text()) if path.exists() else {}
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(kept | _ended, indent=1, sort_keys=True))
