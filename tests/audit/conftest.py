"""Logs with hostile strings in them, and a collector."""

from __future__ import annotations

import pytest

from tests.support.audit.collector import collector
from tests.support.codec.authority import Authority
from tests.support.services import or_skip


@pytest.fixture
def authority(tmp_path):
    """The authority that signs the collector's certificate."""
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder, "authority")


@pytest.fixture
def rsyslog(tmp_path, authority):
    """A running rsyslog."""
    folder = tmp_path / "collector"
    folder.mkdir()
    with or_skip(collector(folder, authority)) as running:
        yield running
