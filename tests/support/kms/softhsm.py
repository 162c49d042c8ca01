"""SoftHSM, a real PKCS#11 module without hardware, with tokens for this process."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from tests.support.services import SOFTHSM, ServiceMissing

TOKENS = ("gcm", "key-wrap", "spare")
PIN = "correct-horse-battery"
_MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """The files of SoftHSM.

    Attributes:
        module: The library.
        tokens: The folder with a folder for each token.
    """

    module: Path
    tokens: Path


@cache  # the module reads its configuration once in a process
def softhsm() -> SoftHsm:
    """Return the process's SoftHSM, with a token for each of `TOKENS`."""
    module = next((Path(path) for path in _MODULES if Path(path).exists()), None)
    command = shutil.which("softhsm2-util")
    if module is None or command is None:
        raise ServiceMissing(SOFTHSM, ["no module or no softhsm2-util"])
    folder = Path(mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(config)
    for label in TOKENS:
        subprocess.run(
            [command, "--init-token", "--free", "--label", label, "--so-pin", f"officer-{PIN}", "--pin", PIN],
            check=True,
            capture_output=True,
        )
    return SoftHsm(module, folder / "tokens")
