from __future__ import annotations

import ast
import io
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from types import MappingProxyType, SimpleNamespace
from typing import ClassVar
from uuid import UUID

import pytest

from strongroom.driver.cli.show import output, piped
from strongroom.driver.cli.show.text import Guarded, as_json, escaped, guarded
from tests.support.fixtures.command_line import STRONGROOM
from tests.support.terminal import HOSTILE, raw_characters
from tests.support.tree import ROOT

CONTROL = [chr(number) for number in (*range(32), *range(127, 160))]
INVISIBLE = [
    chr(n) for n in (0x200B, 0x200E, 0x202A, 0x202E, 0x2066, 0x2069, 0x2028, 0x2029, 0xFEFF, 0xAD, 0x3164, 0x115F)
]
INVISIBLE += [chr(n) for n in (0xE0041, 0xFE0F, 0xE0101, 0x2800, 0xA0, 0x3000, 0x180E, 0x061C, 0xD800, 0xDFFF, 0xFFF9)]


@pytest.mark.parametrize("character", CONTROL + INVISIBLE, ids=ascii)
def test_every_control_and_invisible_character_is_escaped(character):
    """The escape is C's, in visible ASCII, and Python reads it back."""
    shown = escaped(f"a{character}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert ast.literal_eval(f"'{shown}'") == f"a{character}b"
    assert json.loads(as_json(f"a{character}b")) == f"a{character}b"
    assert as_json(character).isascii()
    assert raw_characters(as_json(character)) == set()


def test_readable_text_is_unchanged():
    """Letters of every script, emoji, markup and backslashes are shown as they are."""
    for text in ("a[/b]c[bold]:smile:", "\u00fc\u0436\u4e2d\U0001f600", "\\x1b C:\\new", "a  b", ""):
        assert escaped(text) == text


def test_json_takes_every_value_of_the_documents():
    """UUIDs, times, bytes, mappings and tuples have one form."""
    value = {
        "id": UUID(int=1),
        "at": datetime(2026, 11, 30, tzinfo=UTC),
        "some": (b"x\xff", MappingProxyType({"n": None})),
    }
    assert as_json(value) == (
        '{"id":"00000000-0000-0000-0000-000000000001","at":"2026-11-30T00:00:00Z","some":["x\\\\xff",{"n":null}]}'
    )


def test_a_guarded_stream_escapes_what_libraries_print():
    """Text that is written past `output`, such as a traceback or a log line, is escaped, and lines stay lines."""
    stream = io.StringIO()
    streams = SimpleNamespace(stdout=stream, stderr=io.StringIO())
    with guarded(streams):
        assert isinstance(streams.stdout, Guarded)
        print(HOSTILE, file=streams.stdout)
    assert streams.stdout is stream
    assert raw_characters(stream.getvalue()) == set()


@pytest.mark.parametrize("width", [None, 200, 80, 20])
def test_a_table_keeps_every_cell_whole(monkeypatch, capsys, width):
    """At every width each cell is on one line in full, also with wide characters."""
    monkeypatch.setattr(output, "_terminal_width", lambda: width)
    rows = [("order/\u4e2d\u6587/00157", UUID(int=1), "OrderWorkflow"), ("x" * 100, UUID(int=2), HOSTILE)]
    output.table("workflow id", "run id", "type", rows=rows)
    lines = capsys.readouterr().out.splitlines()
    for row in rows:
        for cell in row:
            assert any(escaped(str(cell)) in line for line in lines)


def test_progress_shows_no_raw_text(monkeypatch):
    """The description of a progress bar and of a spinner is escaped, and its markup is not interpreted."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "500")
    with output.progress_bar(HOSTILE, 2) as advance:
        advance(1)
    with output.busy(HOSTILE) as update:
        update(HOSTILE + "again")
    shown = stream.getvalue()
    assert "a[/b]c[bold]:smile:" in shown
    assert "\x1b]0" not in shown
    assert not {"\x9b", "\u202e", "\u200b"} & set(shown)


class StoppedTimer:
    """A timer that rings only when a test rings it."""

    made: ClassVar[list[StoppedTimer]] = []

    def __init__(self, seconds, function):
        self.seconds, self.function, self.state = seconds, function, "made"
        self.made.append(self)

    def start(self):
        """Ring later."""
        self.state = "started"

    def cancel(self):
        """Do not ring."""
        self.state = "cancelled"


@pytest.fixture
def stopped_clock(monkeypatch):
    """The time of progress in a pipe, with timers that do not ring by themselves."""
    clock = SimpleNamespace(seconds=0.0, timers=[])
    monkeypatch.setattr(StoppedTimer, "made", clock.timers)
    monkeypatch.setattr(piped, "monotonic", lambda: clock.seconds)
    monkeypatch.setattr(piped, "Timer", StoppedTimer)
    return clock


def test_work_that_reports_nothing_is_named_once_in_a_pipe(stopped_clock, capsys):
    """After ten seconds a line says what the command does, also if it counts nothing, and at the end no line follows."""
    for work, text in (
        (output.busy(f"reading {HOSTILE} ..."), f"reading {escaped(HOSTILE)} ...\n"),
        (output.progress_bar("rows", 7), "rows: 0 of 7\n"),
        (output.busy(), ""),
    ):
        with work:
            timer = stopped_clock.timers[-1]
            assert (timer.seconds, timer.state, timer.daemon) == (piped.FIRST, "started", True)
            assert capsys.readouterr().err == ""
            timer.function()
            assert capsys.readouterr() == ("", text)
            timer.function()
            assert capsys.readouterr().err == ""
        assert timer.state == "cancelled"
    with output.busy("short ..."):
        pass
    stopped_clock.timers[-1].function()
    assert capsys.readouterr().err == ""


def test_a_timer_and_reports_share_the_lines_in_a_pipe(stopped_clock, capsys):
    """The timer writes the newest state, and the next line comes a minute later. A report in time makes the timer silent."""
    with output.busy("finding ...") as update:
        update("1 found ...")
        stopped_clock.seconds = 10
        stopped_clock.timers[-1].function()
        update("2 found ...")
        assert capsys.readouterr().err == "1 found ...\n"
        stopped_clock.seconds = 70
        update("3 found ...")
        assert capsys.readouterr().err == "3 found ...\n"
    with output.busy("finding ...") as update:
        stopped_clock.seconds = 80
        update("4 found ...")
        stopped_clock.timers[-1].function()
    assert capsys.readouterr().err == "4 found ...\n"


def test_progress_in_a_pipe_is_a_line_now_and_then(stopped_clock, capsys):
    """In a log a long wait is not silent: a line after ten seconds, and then one a minute. A short one prints nothing."""
    clock = stopped_clock
    with output.busy("finding ...") as update:
        for clock.seconds in range(130):
            update(f"{HOSTILE} {clock.seconds} s")
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert [line.rsplit(" ", 2)[1] for line in lines] == ["10", "70"]
    assert raw_characters(printed.err) == set()
    assert printed.out == ""
    with output.progress_bar("Resealing", 500) as advance:
        advance(0)
        clock.seconds += 11
        advance(20)
    assert capsys.readouterr().err == "Resealing: 20 of 500\n"
    with output.busy("counting ...") as update:
        clock.seconds += 9
        update("again")
    assert capsys.readouterr().err == ""


def test_progress_in_a_pipe_is_not_mixed_with_json(monkeypatch, stopped_clock, capsys):
    """With `--json` standard error has at most one object, an error."""
    monkeypatch.setattr(output, "json_wanted", lambda: True)
    with output.busy("finding ...") as update, output.progress_bar("rows", 2) as advance:
        assert stopped_clock.timers == []
        stopped_clock.seconds += 1000
        update("finding more ...")
        advance(1)
    assert capsys.readouterr().err == ""


def test_nothing_in_the_command_line_prints_past_the_output():
    """No module of the command line prints by itself, so that no text can escape the one function."""
    banned = {"print", "click.echo", "click.secho", "click.prompt", "click.confirm", "Console", "sys.stdout.write"}
    for path in (ROOT / "driver/cli").rglob("*.py"):
        if path.name in {"output.py", "entry.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) not in banned, f"{path}:{node.lineno}"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_whole(shell):
    """Each shell gets its script without a changed character."""
    environment = {"_STRONGROOM_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"}
    script = subprocess.run([STRONGROOM], env=environment, capture_output=True, text=True, check=False)
    assert script.returncode == 0, script
    assert "_STRONGROOM_COMPLETE" in script.stdout
    assert "\\t" not in script.stdout


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_choices(tmp_path):
    """A real bash with the documented line completes what the command line has."""
    questions = {("na",): "namespace", ("namespace", "cr"): "create", ("query", "--expl"): "--explain"}
    questions[("namespace", "create", "x", "--preset", "str")] = "strict"
    for words, answer in questions.items():
        script = f"""
            PATH={STRONGROOM.parent}:$PATH
            eval "$(_STRONGROOM_COMPLETE=bash_source strongroom)"
            COMP_WORDS=(strongroom {" ".join(words)}); COMP_CWORD={len(words)}
            _strongroom_completion strongroom; printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        shown = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert answer in shown.stdout.split(), (words, shown)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_a_command_with_closed_streams_works(closed, tmp_path):
    """What it would print is dropped, and no file that it opens takes the place of a closed stream."""
    command = f'exec "$0" --version {closed}'
    assert subprocess.run(["/bin/sh", "-c", command, STRONGROOM], cwd=tmp_path, check=False).returncode == 0
