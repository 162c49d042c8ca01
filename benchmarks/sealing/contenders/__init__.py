"""The libraries that seal and open rows, one small file each, with one protocol (`protocol.py`).

A library that is not installed, or does not work here, is left out. Its name and the reason are reported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from benchmarks.sealing.contenders.protocol import Absent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.sealing.contenders.protocol import Contender

MODULES = (
    "bare_loop",
    "hand_written",
    "ours",
    "tink_aead",
    "asherah_session",
    "pynacl",
    "temporal_codec",
    "mongocrypt",
    "alloy",
    "aws_encryption_sdk",
    "native_limit",
)


def gather(modules: Sequence[str] = MODULES) -> tuple[list[Contender], dict[str, str]]:
    """Return the contenders that work here, and the reason for each one that does not."""
    found: list[Contender] = []
    absent: dict[str, str] = {}
    for name in modules:
        try:
            module = import_module(f"benchmarks.sealing.contenders.{name}")
            found += module.contenders()
            absent |= getattr(module, "missing", dict)()
        except ModuleNotFoundError as error:
            absent[name] = f"{error.name} is not installed"
        except Absent as error:
            absent[name] = str(error)
        except (ImportError, OSError) as error:
            absent[name] = f"does not load here ({type(error).__name__})"  # the error's text has paths of this machine
    return found, absent
