"""Run commands of the command line with odd values, several in one process."""

from __future__ import annotations

import faulthandler
import io
import json
import os
import sys
from typing import TYPE_CHECKING
from unittest.mock import patch

import click

from tests.support.forked_command import exit_code, forked_process

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NUMBERS = (
    "1" + "0" * 30,
    "-1",
    "-" + "9" * 30,
    "nan",
    "inf",
    "-inf",
    "1e400",
    "",
    " ",
    "0x10",
    "1_0",
    "\uff19",
    "\udcff",
)
TEXTS = ("", " ", "\udcff", "-1", "x" * 70_000, "a\nb")
AT_ONCE = {"wait": "0"}
"""Options that are always given. A namespace of an odd name may exist, and a rotation waits for 400 s."""
SECONDS = 240
"""Time for all values of one command."""


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield each command of a group with its path."""
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, (*path, name))
    else:
        yield path, group


def odd_calls(command: click.Command, samples: dict[str, str]) -> Iterator[list[str]]:
    """Yield the arguments of a command, with an odd value for each of its parameters in turn.

    Args:
        command: The command.
        samples: A value of each required parameter, by its name.
    """
    valued = [each for each in command.params if not getattr(each, "is_flag", False) and each.name != "json"]
    for odd in valued:
        values = NUMBERS if isinstance(odd.type, click.types.IntParamType | click.types.FloatParamType) else TEXTS
        for value in values:
            given = {each.name: samples[str(each.name)] for each in valued if each.required} | AT_ONCE
            yield [part for each in valued for part in _part(each, value if each is odd else given.get(each.name))]


def _part(parameter: click.Parameter, value: str | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(parameter, click.Argument) else [f"{parameter.opts[-1]}={value}"]


def run_all(folder: Path, calls: Sequence[Sequence[str]]) -> list[tuple[list[str], int, str]]:
    """Run calls one after the other in a process, and return the arguments, the exit code and the errors of each.

    A call that does not end is the last one, with the exit code -1.
    """
    answers = folder / "answers.jsonl"
    answers.unlink(missing_ok=True)
    process = forked_process(_child, folder, [list(call) for call in calls], answers)
    ended = exit_code(process, SECONDS)
    if ended is None:
        process.kill()
        exit_code(process, None)
    found = [tuple(json.loads(line)) for line in answers.read_text().splitlines()]
    if len(found) < len(calls):
        where = _stacks(answers).read_text()
        found.append((list(calls[len(found)]), -1, f"the process ended with {ended}\n{where}"))
    return found  # type: ignore[return-value]


def _stacks(answers: Path) -> Path:
    """Return the file in which a process that does not end says where its threads are."""
    return answers.with_suffix(".stacks")


def _child(folder: Path, calls: Sequence[Sequence[str]], answers: Path) -> None:
    os.chdir(folder)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115 - for the whole process
    from strongroom.driver.cli import main  # noqa: PLC0415 - imported before the fork

    with answers.open("a") as file, _stacks(answers).open("w") as stacks:
        faulthandler.dump_traceback_later(SECONDS - 10, file=stacks)
        for call in calls:
            errors = io.StringIO()
            argv = patch.object(sys, "argv", ["strongroom", *call])
            with argv, patch.object(sys, "stderr", errors), patch.object(sys, "stdout", io.StringIO()):
                code = main._run(list(call))
            print(json.dumps([list(call), code, errors.getvalue()]), file=file, flush=True)
