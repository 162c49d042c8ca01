"""A node on a local Java, built from jars of Maven Central, because Elastic publishes no server as a package."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.services import CannotStart
from tests.support.services.unsynced import unsynced

from .jars import Jar, cache_folder, fetch_jars, pinned_jars
from .java import Java, find_java
from .node import PATIENCE, ElasticsearchNode, free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAUNCHER = Path(__file__).with_name("StrongroomNode.java")
DESCRIPTOR = "META-INF/es-plugins/transport-netty4/plugin-descriptor.properties"
QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""Options that halve the start time but make the node slower later. They suit tests, not measurements. With them the node does not
wait for the disk."""

SINGLE = {"discovery.type": "single-node", "node.name": "strongroom"}
"""Settings of a node that is a cluster."""


class JvmNode(ElasticsearchNode):
    """A node in its own Java process, which ends with this process."""

    def __init__(
        self,
        folder: Path,
        *,
        heap: str = "512m",
        java_options: Sequence[str] = QUICK,
        ports: tuple[int, int] | None = None,
        settings: Mapping[str, object] = SINGLE,
    ):
        self._environment = os.environ | (unsynced() if java_options == QUICK else {})
        self._java = find_java()
        jars = fetch_jars(pinned_jars())
        launcher = _compiled_launcher(self._java, jars)
        self._home = folder
        self._console = folder / "logs" / "console"
        _lay_out(folder, jars)
        http, transport = ports or free_ports(2)
        self.url = f"http://127.0.0.1:{http}"
        self.kind = f"Java {self._java.version} ({self._java.program})"
        modules = ["ALL-MODULE-PATH", "jdk.net"]
        if "jdk.incubator.vector" in self._java.modules:
            modules.append("jdk.incubator.vector")
        settings = {
            "path.home": folder,
            "path.data": folder / "data",
            "path.logs": folder / "logs",
            "path.repo": folder / "snapshots",
            "http.port": http,
            "transport.port": transport,
            "network.host": "127.0.0.1",
            "cluster.name": "strongroom",
            "cluster.routing.allocation.disk.threshold_enabled": "false",  # a test must not fail because a developer's disk is full
            **settings,
        }
        self._command = [
            str(self._java.program),
            f"-Xms{heap}",
            f"-Xmx{heap}",
            *java_options,
            "--module-path",  # on the class path a node does not start
            os.pathsep.join(str(path) for jar, path in jars.items() if jar.use == "lib"),
            f"--add-modules={','.join(modules)}",
            "--enable-native-access=ALL-UNNAMED,org.apache.lucene.core",
            f"-Djava.io.tmpdir={folder / 'tmp'}",
            "-cp",
            str(launcher),
            LAUNCHER.stem,
            *(f"{name}={value}" for name, value in settings.items()),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the node runs."""
        return self._process.pid if self._process else None

    @property
    def data(self) -> Path:
        """The folder of its shards and translogs."""
        return self._home / "data"

    def start(self) -> None:
        """Start the node on its data, and wait until all shards are up.

        Raises:
            RuntimeError: The node does not start. The message has the end of its output.
        """
        self.launch()
        self.wait()

    def launch(self) -> None:
        """Start the node on its data, and don't wait."""
        if self._process:
            raise RuntimeError("it runs already")
        with self._console.open("ab") as log:
            # The node ends when its standard input is closed: see the launcher.
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=self._home, env=self._environment
            )

    def _check(self) -> None:
        if self._process and self._process.poll() is not None:
            self.kill()
            raise RuntimeError(f"Elasticsearch ended: {self._console.read_text(errors='replace')[-3000:]}")

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop the node in good order, so that it closes its shards. `start` starts it again."""
        self._end(None)

    def close(self) -> None:
        """Kill the node. The caller removes its folder."""
        self.kill()

    def _end(self, number: signal.Signals | None) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if number is not None:
            process.send_signal(number)
        if process.stdin:
            process.stdin.close()
        process.wait(timeout=PATIENCE)


def _lay_out(home: Path, jars: dict[Jar, Path]) -> None:
    """Make a home folder. HTTP is a plugin of the node, so its jars are in their own folder with their descriptor."""
    http = home / "modules" / "transport-netty4"
    for folder in (http, home / "config", home / "data", home / "logs", home / "plugins", home / "tmp"):
        folder.mkdir(parents=True, exist_ok=True)
    for jar, path in jars.items():
        if jar.use == "http":
            shutil.copyfile(path, http / path.name)
            if ":transport-netty4:" in jar.coordinates:
                with zipfile.ZipFile(path) as archive:
                    (http / "plugin-descriptor.properties").write_bytes(archive.read(DESCRIPTOR))


def _compiled_launcher(java: Java, jars: dict[Jar, Path]) -> Path:
    """Return the folder of the compiled launcher. Eclipse's compiler is used, because a Java runtime need not have `javac`."""
    digest = hashlib.sha256(LAUNCHER.read_bytes() + "".join(jar.sha256 for jar in jars).encode()).hexdigest()[:16]
    folder = cache_folder() / f"launcher-{digest}"
    if not (folder / f"{LAUNCHER.stem}.class").is_file():
        compiler = next(path for jar, path in jars.items() if jar.use == "compiler")
        path = os.pathsep.join(str(path) for jar, path in jars.items() if jar.use == "lib")
        partial = folder.with_suffix(f".{os.getpid()}")
        compiled = subprocess.run(
            [java.program, "-jar", compiler, "-21", "-nowarn", "-d", partial, "-cp", path, LAUNCHER],
            check=False,
            capture_output=True,
            text=True,
        )
        if compiled.returncode:
            raise CannotStart(f"the launcher does not compile: {compiled.stderr or compiled.stdout}")
        folder.mkdir(parents=True, exist_ok=True)
        (partial / f"{LAUNCHER.stem}.class").replace(folder / f"{LAUNCHER.stem}.class")
        shutil.rmtree(partial)
    return folder
