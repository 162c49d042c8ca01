"""The jars of a node from Maven Central, checked against pinned hashes and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from tests.support.services import CannotStart

CENTRAL = "https://repo.maven.apache.org/maven2"
PINS = Path(__file__).with_name("jars.txt")
TIMEOUT = 60


@dataclass(frozen=True, slots=True)
class Jar:
    """A jar by its coordinates, and what it is for: `lib`, `http` or `compiler`."""

    sha256: str
    coordinates: str
    use: str

    @property
    def path(self) -> str:
        """The jar's path in a Maven repository."""
        group, artifact, version = self.coordinates.split(":")
        return f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.jar"


def pinned_jars() -> list[Jar]:
    """Return all jars of a node."""
    lines = PINS.read_text().splitlines()
    return [Jar(*line.split()) for line in lines if not line.startswith("#")]


def cache_folder() -> Path:
    """Return the folder that keeps jars and the compiled launcher between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "strongroom" / "elasticsearch"


def fetch_jars(jars: list[Jar]) -> dict[Jar, Path]:
    """Return a checked file for each jar: from the cache, from Maven's local repository, or over the network.

    Raises:
        CannotStart: A jar is not available, or is not the pinned one.
    """
    with ThreadPoolExecutor(8) as pool:
        return dict(zip(jars, pool.map(_fetch, jars), strict=True))


def _fetch(jar: Jar) -> Path:
    cached = cache_folder() / "jars" / jar.path
    for present in (cached, Path.home() / ".m2" / "repository" / jar.path):
        if present.is_file() and hashlib.sha256(present.read_bytes()).hexdigest() == jar.sha256:
            return present
    try:
        with urllib.request.urlopen(f"{repository_url()}/{jar.path}", timeout=TIMEOUT) as answer:  # noqa: S310 - a configured URL
            content = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise CannotStart(f"{jar.coordinates} does not come from the Maven repository: {error}") from None
    if (found := hashlib.sha256(content).hexdigest()) != jar.sha256:
        raise CannotStart(f"{jar.coordinates} is not the pinned one: its SHA-256 is {found}")
    cached.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(
        dir=cached.parent, delete=False
    ) as file:  # renamed when complete, because two runs may fetch at once
        file.write(content)
    return Path(file.name).rename(cached)


def repository_url() -> str:
    """Return the Maven repository to ask: STRONGROOM_MAVEN_URL, the mirror of ~/.m2/settings.xml, or Maven Central."""
    if named := os.environ.get("STRONGROOM_MAVEN_URL"):
        return named.rstrip("/")
    settings = Path.home() / ".m2" / "settings.xml"
    if settings.is_file():
        for mirror in ET.parse(settings).iterfind(".//{*}mirror"):  # noqa: S314 - the user's own file
            of, url = mirror.findtext("{*}mirrorOf", ""), mirror.findtext("{*}url", "")
            if {part.strip() for part in of.split(",")} & {"*", "central", "external:*"}:
                return url.strip().rstrip("/")
    return CENTRAL
