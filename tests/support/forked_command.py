"""Commands in processes that are forked from one that has already imported the command line."""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from multiprocessing.connection import wait
from threading import Lock

from tests.support.tree import ROOT

WIDE = {"COLUMNS": "300", "NO_COLOR": "1"}
"""Variables with which a line of output is one line, without colours; `rich` reads them once, when it is imported."""
_CHILDREN = Lock()
"""Held while children are started or their exit codes are read. `start` polls all children, and an exit code is read only once."""


def forked_process(target, *arguments):
    """Start a process that calls a function."""
    import pytest  # noqa: PLC0415 - each command imports this module, and does not need pytest

    context = get_context("forkserver")
    process = context.Process(target=target, args=arguments)
    # Locked, because tests call this in threads. The path is added, because only pytest can import `tests` without it.
    with _CHILDREN, pytest.MonkeyPatch.context() as patched:
        for (
            name,
            value,
        ) in WIDE.items():  # `patch.dict` would empty the environment at its end, and other threads would see that
            patched.setenv(name, value)
        patched.setattr(sys, "path", [*sys.path, str(ROOT)])
        context.set_forkserver_preload(["strongroom.driver.cli.main", "tests.support.patience"])
        process.start()
    return process


def exit_code(process, timeout):
    """Wait for a process and return its exit code; None if it still runs after `timeout` seconds."""
    ended = wait([process.sentinel], timeout)
    with _CHILDREN:
        process.join(None if ended else 0)
        return process.exitcode


def run_main(folder, arguments, variables, streams):
    """Run the command line as the installed script does, and end the process with its exit code.

    Its audit log waits longer than the default, also for the last signature, because a busy machine is slow.

    Args:
        folder: The working directory.
        arguments: The arguments of the command.
        variables: The complete environment.
        streams: The files for standard input, output and error.
    """
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, path in enumerate(streams):
        opened = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115 - for the whole process
    sys.argv = ["strongroom", *arguments]
    from strongroom.driver.cli.main import main  # noqa: PLC0415 - imported before the fork
    from tests.support.patience import be_patient  # noqa: PLC0415 - imported before the fork

    be_patient()
    main()
