"""Logs with hostile strings in them, and a collector."""

from __future__ import annotations

import os

import pytest

from tests.support.audit.collector import RSYSLOGD, collector
from tests.support.codec.authority import Authority


@pytest.fixture
def authority(tmp_path):
    """Who signs the collector's certificate."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder, "authority")


@pytest.fixture
def rsyslog(tmp_path, authority):
    """A running rsyslog."""
    if RSYSLOGD is None:
        message = "rsyslog is missing: apt-get install rsyslog rsyslog-openssl"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path / "collector"
    folder.mkdir()
    with collector(folder, authority) as running:
        yield running
