from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time

import orjson
import pytest

from tests.support.fixtures.command_line import STRONGROOM, faults

pytestmark = pytest.mark.integration

LINE = "stopped; what was committed is kept, and the command can be run again\n"
PATIENCE = 120
SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])


class Silent:
    """A server that accepts connections and never answers."""

    def __enter__(self):
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.setblocking(False)
        self._accepted = []
        self.port = self._listening.getsockname()[1]
        return self

    def __exit__(self, *_):
        for each in (*self._accepted, self._listening):
            each.close()

    def connected(self):
        """Return whether a client has connected."""
        with contextlib.suppress(BlockingIOError):
            self._accepted.append(self._listening.accept()[0])
        return bool(self._accepted)


def started(folder, *arguments, stdin=subprocess.DEVNULL):
    return subprocess.Popen(
        [STRONGROOM, *arguments], cwd=folder, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def handles_signals(process):
    """Return whether the process has installed its handlers: Python itself installs none for SIGTERM."""
    with open(f"/proc/{process.pid}/status") as file:  # noqa: PTH123 - of the kernel
        caught = next(line for line in file if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def is_waiting(process):
    """Return whether the main thread is in a system call that waits."""
    with open(f"/proc/{process.pid}/stat") as file:  # noqa: PTH123 - of the kernel
        return file.read().rsplit(")", 1)[1].split()[0] == "S"


def wait_until(process, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def ended(process, number):
    """Check that a process ends with the signal's exit code and one line."""
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, faults(stderr)) == (128 + number, LINE), (stdout, stderr)


@SIGNALS
def test_a_signal_during_start_up_ends_with_one_line(tmp_path, number):
    """From the first line of the program on, a signal gives one line and its exit code, whatever is being imported."""
    for moment in (0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3):
        with started(tmp_path, "doctor") as process:
            wait_until(process, lambda: handles_signals(process))
            time.sleep(moment)
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=PATIENCE)
            assert "Traceback" not in stderr
            if process.returncode != 1:  # the doctor had finished before the signal
                assert (process.returncode, faults(stderr)) == (128 + number, LINE), (moment, stdout, stderr)


LATE = """
import os, sys
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=int(sys.argv.pop())):
        kill(pid, number)
late = Late()  # deleted after Python has restored the handlers that it found
from strongroom.driver.cli.entry import main
main()
"""


@SIGNALS
def test_a_signal_when_the_command_has_ended_leaves_its_exit_code(tmp_path, number):
    """While the interpreter ends, a signal changes neither the exit code nor the output."""
    for command, code in (("--version", 0), ("unknown", 2)):
        done = subprocess.run(
            [sys.executable, "-c", LATE, command, str(int(number))],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "stopped" in done.stderr) == (code, False), done


@SIGNALS
def test_a_signal_while_a_server_is_silent_ends_with_one_line(tmp_path, number):
    """A command that waits for a database that never answers ends with one line; so does one that gets two signals."""
    for times in (1, 2):
        with (
            Silent() as server,
            started(tmp_path, "init", "--dsn", f"postgresql://u@127.0.0.1:{server.port}/d") as process,
        ):
            wait_until(process, server.connected)
            for _ in range(times):
                process.send_signal(number)
            ended(process, number)


def test_the_error_is_json_if_json_was_asked_for(tmp_path):
    """With --json the line is a JSON object."""
    with (
        Silent() as server,
        started(tmp_path, "init", "--json", "--dsn", f"postgresql://u@127.0.0.1:{server.port}/d") as process,
    ):
        wait_until(process, server.connected)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE)
    assert orjson.loads(stderr)["error"]["exit_code"] == process.returncode == 130


def test_a_signal_in_a_question_ends_with_one_line_and_leaves_the_terminal_usable(tmp_path):
    """Ctrl-C at a prompt on a terminal ends the command, and the terminal echoes again."""
    import termios  # noqa: PLC0415

    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    with subprocess.Popen(
        [STRONGROOM, "namespace", "shred", "payments"], cwd=tmp_path, stdin=slave, stdout=slave, stderr=slave
    ) as process:
        shown = b""
        while b"Type its name" not in shown:
            assert select.select([master], [], [], PATIENCE)[0]
            shown += os.read(master, 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130
    assert termios.tcgetattr(slave) == before
    os.close(slave)
    rest = b""
    try:
        while more := os.read(master, 4096):
            rest += more
    except OSError:
        pass
    os.close(master)
    assert b"Traceback" not in rest
    assert rest.decode().replace("\r", "").endswith(LINE)


QUESTION = "Which one?"
UNNOTICED = """
import asyncio, os, signal, sys, threading
from strongroom.driver.cli.interrupts import INTERRUPTS
from strongroom.driver.cli.show.output import ask
INTERRUPTS.install()
waits, number, ordered, main = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), threading.main_thread().ident
def strike():
    while (order := os.read(ordered, 1)):  # a signal to this thread interrupts no system call of the one that runs handlers
        signal.pthread_kill(main if order == b"m" else threading.get_ident(), number)
        os.write(1, b"struck\\n")  # `sys.stdout` is replaced during a question
threading.Thread(target=strike, daemon=True).start()
print("begun", flush=True)
try:
    if waits == "server":
        INTERRUPTS.run(asyncio.Event().wait())
    print(ask("Which one?"), flush=True)
except BaseException:
    if INTERRUPTS.received is None:
        raise
    INTERRUPTS.end()
"""


@contextlib.contextmanager
def unnoticed(folder, waits, number):
    """Start a program that waits; yield it, its terminal or pipe, and what orders signals: to the thread that waits, or another."""
    ordered, orders = os.pipe()
    answers, questions = pty.openpty() if waits == "terminal" else os.pipe()[::-1]
    program = [sys.executable, "-c", UNNOTICED, waits, str(int(number)), str(ordered)]
    with subprocess.Popen(
        program,
        cwd=folder,
        stdin=questions,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=[ordered],
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            if waits != "server":
                assert process.stderr.read(len(QUESTION)) == QUESTION
            wait_until(process, lambda: is_waiting(process))
            yield process, answers, orders
        finally:
            process.kill()
            for each in (ordered, orders, answers, questions):
                os.close(each)


@SIGNALS
@pytest.mark.parametrize("waits", ["terminal", "pipe", "server"])
def test_a_signal_that_interrupts_no_system_call_ends_the_command(tmp_path, waits, number):
    """A signal in the instant before a command waits, for a person or for a server, is noticed without a key or an answer."""
    with unnoticed(tmp_path, waits, number) as (process, _, orders):
        os.write(orders, b"o")
        assert process.wait(PATIENCE) == 128 + number
        assert process.stderr.read().endswith(LINE)


@pytest.mark.parametrize("waits", ["terminal", "pipe"])
def test_an_answer_is_taken_however_long_a_person_thinks(tmp_path, waits):
    """The call that waits for an answer is ended again and again, and the answer is whole."""
    with unnoticed(tmp_path, waits, signal.SIGALRM) as (process, answers, orders):
        for _ in range(20):
            os.write(orders, b"m")
            assert process.stdout.readline() == "struck\n"
        os.write(answers, b"the second\n")
        assert process.stdout.readline() == "the second\n"


def test_an_ignored_signal_stays_ignored(tmp_path):
    """A command in the background of a script, for which SIGINT is ignored, is not stopped by it."""
    process = subprocess.Popen(
        [STRONGROOM, "doctor"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # noqa: PLW1509 - no threads here
    )
    with process:
        wait_until(process, lambda: handles_signals(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 1


def test_a_closed_pipe_and_a_full_disk_give_no_traceback(tmp_path):
    """A reader that goes away ends the command silently, and a full disk is named."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        closed = subprocess.run(
            [STRONGROOM, "--help"], cwd=tmp_path, stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (closed.returncode, closed.stderr) == (141, "")
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        refused = subprocess.run(
            [STRONGROOM, "--help"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert refused.returncode == 2
    assert refused.stderr == "error: standard output can't be written: No space left on device\n"


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
    ids=str,
)
def test_another_encoding_gives_escapes(tmp_path, environment):
    """A character that the terminal's encoding lacks is written as an escape, and does not end the command."""
    result = subprocess.run(
        [STRONGROOM, "--config", "\u20ac.toml", "doctor"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 1, result
    assert b"Traceback" not in result.stderr
    assert b".toml is missing" in result.stdout
    assert all(byte == 10 or 32 <= byte < 127 for byte in result.stdout)
