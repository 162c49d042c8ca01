"""A real syslog collector: rsyslog, which accepts RFC 5424 over TLS and writes the parsed messages as JSON lines."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path

from tests.support.services import RSYSLOG, Way, started
from tests.support.services.programs import ContainerProgram, LocalProgram, find_program

IMAGE = "rsyslog/rsyslog:2025-06"
SECONDS = 120

_CONFIG = """
global(workDirectory="{folder}" maxMessageSize="256k" parser.escapeControlCharactersOnReceive="off"
       DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{ca}"
       DefaultNetstreamDriverCertFile="{certificate}" DefaultNetstreamDriverKeyFile="{certificate}")
main_queue(queue.type="Direct")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="{mode}" MaxSessions="50")
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{folder}/port")
template(name="parsed" type="list" option.jsonf="on") {{
    property(outname="pri" name="pri" format="jsonf")
    property(outname="timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
    property(outname="host" name="hostname" format="jsonf")
    property(outname="app" name="app-name" format="jsonf")
    property(outname="procid" name="procid" format="jsonf")
    property(outname="msgid" name="msgid" format="jsonf")
    property(outname="data" name="structured-data" format="jsonf")
    property(outname="message" name="msg" format="jsonf")
}}
action(type="omfile" file="{folder}/messages" template="parsed" asyncWriting="off" flushOnTXEnd="on")
"""


class Collector:
    """A collector that can be started and stopped many times. It keeps the messages.

    Each start takes a free port, because another program may have taken the last one meanwhile.

    Attributes:
        port: The port of the last start.

    Args:
        folder: The folder for the collector's files.
        authority: The authority that signs the collector's certificate.
        run: Function that starts the program with some arguments.
        mode: The way in which clients are authenticated.
    """

    def __init__(self, folder, authority, run, *, mode="anon"):
        self._folder = folder
        self._run, self._mode = run, mode
        self._authority = Path(shutil.copy(authority.certificate, folder / "authority.pem"))
        self._certificate = Path(shutil.copy(authority.server("localhost", "127.0.0.1"), folder / "certificate.pem"))
        self._program = None
        self.port = 0

    def start(self):
        """Start the program on a new port, and wait until it listens."""
        config = self._folder / "rsyslog.conf"
        config.write_text(
            _CONFIG.format(
                folder=self._folder,
                ca=self._authority,
                certificate=self._certificate,
                mode=self._mode,
            )
        )
        (self._folder / "port").unlink(missing_ok=True)
        self.port = 0
        self._program = self._run(["-n", "-f", str(config), "-iNONE", "-C"])
        end = time.monotonic() + SECONDS
        while not self._listens():
            assert time.monotonic() < end, self._program.output()
            assert self._program.is_running(), self._program.output()
            time.sleep(0.02)

    def _listens(self):
        if not self.port:
            file = self._folder / "port"
            self.port = int((file.read_text() if file.exists() else "").strip() or 0)
        with socket.socket() as tried:
            return self.port != 0 and tried.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, how=signal.SIGTERM):
        """Stop the program."""
        if self._program is not None:
            self._program.stop(how)
            self._program = None

    def messages(self, *, at_least=0):
        """Return the parsed messages; wait until there are at least this many."""
        end = time.monotonic() + SECONDS
        path = self._folder / "messages"
        while True:
            text = path.read_text() if path.exists() else ""
            found = [json.loads(line) for line in text.split("\n")[:-1]]
            if len(found) >= at_least or time.monotonic() > end:
                return found
            time.sleep(0.1)


@contextmanager
def collector(folder, authority, **options):
    """Start a collector for one test. A collector at a given address is not used, because tests stop it.

    Raises:
        ServiceMissing: No collector can be started.
    """

    @contextmanager
    def running(run):
        made = Collector(folder, authority, run, **options)
        made.start()
        try:
            yield made
        finally:
            made.stop(signal.SIGKILL)

    def container(arguments):
        return ContainerProgram(IMAGE, ["rsyslogd", *arguments], folder)

    def local(arguments):
        return LocalProgram([find_program("rsyslogd"), *arguments], folder)

    starts = {Way.CONTAINER: lambda: running(container), Way.LOCAL: lambda: running(local)}
    with started(RSYSLOG, starts, own=True) as made:
        yield made
