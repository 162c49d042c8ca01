"""CPU time and memory are counted for the process that used them."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.temporal.usage import usage

BUSY = "import time; block = bytes(200_000_000)\nwhile time.process_time() < 0.3: pass\nprint(flush=True); input()"


def test_a_group_without_its_descendants_does_not_count_them():
    """The benchmark starts the servers, so its own figure must leave them out."""
    groups = {"all": [os.getpid()], "own": [os.getpid()]}
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        used = usage(groups | {"child": [child.pid]}, alone=("own",))
        child.communicate(b"\n")
    assert used["child"].cpu > 0.25
    ticks = {
        name: round(each.cpu * os.sysconf("SC_CLK_TCK")) for name, each in used.items()
    }  # sums of seconds are rounded
    assert ticks["all"] >= ticks["own"] + ticks["child"]
    assert used["own"].memory + used["child"].memory <= used["all"].memory
