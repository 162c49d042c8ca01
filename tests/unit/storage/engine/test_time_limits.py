"""The statements that switch off time limits, without a server."""

from __future__ import annotations

from strongroom.storage.engine.session_settings import Session, without_limits


def test_long_work_has_no_limit_of_any_version():
    """PostgreSQL 17 brought `transaction_timeout`. An older server refuses the name."""
    older = Session(1, "mark", row_level_security=True)
    assert without_limits(older, "statement_timeout") == "SET LOCAL statement_timeout = 0"
    newer = Session(1, "mark", row_level_security=True, limits_transactions=True)
    assert (
        without_limits(newer, "statement_timeout", scope="SET")
        == "SET statement_timeout = 0; SET transaction_timeout = 0"
    )
