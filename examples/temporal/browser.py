"""A headless Chromium, driven over its debugging pipe. It needs no other package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from .processes import PATIENCE, StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_OPTIONS = (
    "--headless",
    "--no-sandbox",  # containers have no user namespaces; the only pages are those of the demonstration
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1600,1200",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
)
_LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Chromium reads commands from descriptor 3, and writes answers to descriptor 4."""
_LOWEST = 10
"""Lowest descriptor of the pipes in this process, so that descriptors 3 and 4 are free in the child."""


def chromium() -> str | None:
    """Return the path of the browser; None if there is none."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


class Browser:
    """A page in a running browser.

    Args:
        commands: The descriptor to which commands are written.
        answers: The descriptor from which answers are read.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def open(self, url: str) -> None:
        """Navigate to an address.

        Raises:
            StackError: The page can't be loaded.
        """
        error = self._call("Page.navigate", url=url).get("errorText")
        if error:
            raise StackError(f"the browser can't open a page of the interface: {error}")

    def text(self) -> str:
        """Return the text of the page as a person sees it."""
        answer = self._call("Runtime.evaluate", expression="document.body ? document.body.innerText : ''")
        return str(answer["result"].get("value", ""))

    def wait_for(self, words: str) -> str:
        """Wait until the page has a text, and return all of its text.

        Raises:
            StackError: The page does not have it in time.
        """
        end = time.monotonic() + PATIENCE
        while words not in (text := self.text()):
            if time.monotonic() > end:
                raise StackError(f"the page does not show {words!r}, but:\n{text[:1500]}")
            time.sleep(0.2)
        return text

    def screenshot(self, file: Path) -> None:
        """Write an image of the page."""
        file.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                break
        if "error" in message:
            raise StackError(f"the browser refused {method}: {message['error'].get('message')}")
        result: dict[str, Any] = message["result"]
        return result

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, end - time.monotonic()))
            received = os.read(self._answers, 1 << 20) if ready else b""
            if not received:
                raise StackError("the browser ended" if ready else f"the browser did not answer in {PATIENCE:.0f} s")
            self._buffer += received
        first, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message


@contextmanager
def running(program: str, folder: Path, *, pin: str) -> Iterator[Browser]:
    """Start a browser with a new profile.

    Args:
        program: The path of the browser.
        folder: The folder of its profile and its log.
        pin: The hash of the only self-signed key that it accepts.
    """
    theirs_in, commands = os.pipe()
    answers, theirs_out = os.pipe()
    theirs = [_raised(theirs_in), _raised(theirs_out)]
    launch = [sys.executable, "-c", _LAUNCH, *map(str, theirs)]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *launch,
                program,
                *_OPTIONS,
                f"--ignore-certificate-errors-spki-list={pin}",
                f"--user-data-dir={folder / 'browser'}",
            ],
            pass_fds=theirs,
            stdout=log,
            stderr=log,
            start_new_session=True,  # the browser has processes of its own, which must end before the profile is deleted
        )
    for descriptor in theirs:
        os.close(descriptor)
    try:
        yield Browser(commands, answers)
    finally:
        _end(process)
        os.close(commands)
        os.close(answers)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the processes of the browser, and wait until they have ended."""
    end = time.monotonic() + PATIENCE
    with suppress(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.05)


def _raised(descriptor: int) -> int:
    """Return a descriptor of the same file with a higher number, and close the given one."""
    raised = fcntl.fcntl(descriptor, fcntl.F_DUPFD, _LOWEST)
    os.close(descriptor)
    return raised
