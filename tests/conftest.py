"""Registers the modules of fixtures."""

from __future__ import annotations

import os
import sys

from hypothesis import settings

from tests.support.counts import examples
from tests.support.patience import WHILE_IT_RUNS, be_patient
from tests.support.tree import ROOT

# `benchmarks` and `checks` are not installed. They are last in the path, so that folders of the tree don't hide an installed package.
sys.path += [str(ROOT), str(ROOT / ".ci")]

pytest_plugins = (
    "tests.support.session_folder",
    "tests.support.memory_folder",
    "tests.support.fixtures.environment",
    "tests.support.fixtures.postgres",
    "tests.support.fixtures.cell",
    "tests.support.fixtures.ciphers",
    "tests.support.fixtures.contract",
    "tests.support.fixtures.executions",
    "tests.support.fixtures.batches",
    "tests.support.fixtures.history",
    "tests.support.fixtures.matching",
    "tests.support.fixtures.metadata",
    "tests.support.fixtures.citus",
    "tests.support.fixtures.elasticsearch",
    "tests.support.fixtures.claims",
    "tests.support.fixtures.shredding",
    "tests.support.fixtures.telemetry",
    "tests.support.fixtures.visibility",
    "tests.support.interruptible",
    "tests.support.file_order",
    "tests.support.file_times",
    "tests.support.untested",
    "tests.support.faults.fix_server_bench",
)

settings.register_profile("dev", max_examples=examples(50), deadline=None)
settings.register_profile("ci", max_examples=examples(150), deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")
be_patient(WHILE_IT_RUNS)
