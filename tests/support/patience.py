"""Longer deadlines of audit logs and anchors for the processes of tests, because a busy machine is slow."""

from __future__ import annotations

from strongroom.driver.anchor import writing
from strongroom.driver.audit import LogSettings, log
from strongroom.driver.cli import cell
from tests.support.audit.logs import PATIENT

WHILE_IT_RUNS = LogSettings(write_timeout=PATIENT.write_timeout, row_seconds=PATIENT.row_seconds)
"""Settings of a process that is patient until it ends. Tests of silent servers measure the end."""


def be_patient(settings=PATIENT):
    """Make settings the default of all audit logs of this process, and let it wait long for its last anchor in an object store."""
    log.LogSettings = lambda: settings
    cell.LOG_SETTINGS = settings
    writing.LAST_SECONDS = writing.CHANGE_SECONDS = 120.0
