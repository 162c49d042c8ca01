"""A real collector of syslog: rsyslog, which takes RFC 5424 over TLS and writes what it understood as JSON lines."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

RSYSLOGD = shutil.which("rsyslogd") or ("/usr/sbin/rsyslogd" if Path("/usr/sbin/rsyslogd").exists() else None)
SECONDS = 20

_CONFIG = """
global(workDirectory="{folder}" maxMessageSize="256k" parser.escapeControlCharactersOnReceive="off"
       DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{ca}"
       DefaultNetstreamDriverCertFile="{certificate}" DefaultNetstreamDriverKeyFile="{certificate}")
main_queue(queue.type="Direct")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="{mode}" MaxSessions="50")
input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{folder}/port")
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
    """Runs from `start` to `stop`, any number of times on the same port, and keeps what it took."""

    def __init__(self, folder, authority, *, mode="anon"):
        self._folder = folder
        self._authority, self._mode = authority, mode
        self._certificate = authority.server("localhost", "127.0.0.1")
        self._process = None
        self.port = 0

    def start(self):
        """Listen."""
        config = self._folder / "rsyslog.conf"
        config.write_text(
            _CONFIG.format(
                folder=self._folder,
                ca=self._authority.certificate,
                certificate=self._certificate,
                mode=self._mode,
                port=self.port,
            )
        )
        command = [RSYSLOGD, "-n", "-f", config, "-iNONE", "-C"]
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        end = time.monotonic() + SECONDS
        while not self._listens():
            assert time.monotonic() < end, (self._folder / "output").read_text()
            assert self._process.poll() is None, (self._folder / "output").read_text()
            time.sleep(0.02)

    def _listens(self):
        if not self.port:
            file = self._folder / "port"
            self.port = int((file.read_text() if file.exists() else "").strip() or 0)
        with socket.socket() as tried:
            return self.port != 0 and tried.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, how=signal.SIGTERM):
        """End it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(SECONDS)
            self._process = None

    def messages(self, *, at_least=0):
        """What it understood."""
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
    """A running collector."""
    made = Collector(folder, authority, **options)
    made.start()
    try:
        yield made
    finally:
        made.stop(signal.SIGKILL)
