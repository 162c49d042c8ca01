"""Write the pin of the cell's own keys into a configuration file, and leave the rest of the file as it is."""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from typing import TYPE_CHECKING

from strongroom.kms import replace_file
from strongroom.kms.private_files import read_trusted
from strongroom.kms.text import NotText, text_of

from .errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.kms import CellPin

_SECTION = re.compile(r"\s*\[\s*cell\s*\]\s*(#.*)?")
_HEADER = re.compile(r"\s*\[")
_SETTING = re.compile(r"\s*(kek|commitment)\s*=")


def pin_lines(pin: CellPin) -> tuple[str, str]:
    """Return the lines of the section `[cell]` that pin its keys."""
    return f"kek = {json.dumps(str(pin.kek), ensure_ascii=False)}", f'commitment = "{pin.commitment.hex()}"'


def write_pin(path: Path, pin: CellPin) -> None:
    """Set `kek` and `commitment` in the section `[cell]` of a file. After a crash the file has the old or the new text.

    Args:
        path: The configuration file. It keeps its mode. If it is a link, the file that it names is changed.
        pin: The keys that are accepted as the cell's own.

    Raises:
        ConfigError: The file can't be written, or has a form that can't be changed safely. The message has the lines to write.
    """
    kek, commitment = pin_lines(pin)
    by_hand = f"write these lines into the section [cell] of {path}: {kek}; {commitment}"
    try:
        target = path.resolve(strict=True)
        content = read_trusted(target)
        changed = _changed(text_of(content), pin)
        if changed is None:
            msg = f"the section [cell] of {path} has a form that can't be changed safely; {by_hand}"
            raise ConfigError(msg)
        mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
        replace_file(target, mark + changed.encode(), keeps_access=True)
    except (OSError, NotText) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        msg = f"can't write {path}: {reason}; {by_hand}"
        raise ConfigError(msg) from None


def _changed(text: str, pin: CellPin) -> str | None:
    """Return the text with the pin, or None if anything but the pin would change."""
    kek, commitment = pin_lines(pin)
    made: list[str] = []
    in_cell = False
    for line in text.splitlines(keepends=True):
        if _SECTION.fullmatch(line.rstrip("\r\n")):
            in_cell = True
            ending = line[len(line.rstrip("\r\n")) :] or "\n"
            made += [line.rstrip("\r\n"), ending]
            made += [f"{kek}  # the KEK of the cell's own keys; change it with `strongroom keys pin`", ending]
            made += [f"{commitment}  # identifies the cell's own keys; a database with others is refused", ending]
            continue
        in_cell = in_cell and not _HEADER.match(line)
        if not (in_cell and _SETTING.match(line)):
            made.append(line)
    changed = "".join(made)
    try:
        before, after = tomllib.loads(text), tomllib.loads(changed)
    except tomllib.TOMLDecodeError:
        return None
    wanted = {**before.get("cell", {}), "kek": str(pin.kek), "commitment": pin.commitment.hex()}
    return changed if after == {**before, "cell": wanted} else None
