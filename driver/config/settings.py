"""One section of a configuration file, read setting by setting."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Settings:
    """A section; whatever is wrong or left over in it is a `ValueError` that names the setting.

    Attributes:
        kind: what more the section is called when a setting is left over.

    Args:
        name: of the section.
        content: of the section.
        folder: that relative paths count from.
    """

    kind = ""

    def __init__(self, name: str, content: Mapping[str, Any], folder: Path) -> None:
        self._name = name
        self._left = dict(content)
        self._folder = folder

    def text(self, name: str) -> str:
        """Return a setting that must be there."""
        value = self.optional(name)
        if value is None:
            raise ValueError(f"{self._name}.{name} must be given")
        return value

    def optional(self, name: str, default: str | None = None) -> str | None:
        """Return a text that may be missing."""
        value = self._left.pop(name, default)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{self._name}.{name} must be given as text")
        return value

    def path(self, name: str) -> Path | None:
        """Return a file, from the folder of the configuration."""
        value = self.optional(name)
        return None if value is None else self._folder / value

    def number(self, name: str, default: int) -> int:
        """Return a whole number that may be missing."""
        value = self._left.pop(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{self._name}.{name} must be given as a whole number")  # noqa: TRY004 - the caller reports all faults of a file alike
        return value

    def positive(self, name: str, default: int) -> int:
        """Return a whole number from 1."""
        value = self.number(name, default)
        if value < 1:
            raise ValueError(f"{self._name}.{name} must be 1 or more")
        return value

    def flag(self, name: str) -> bool:
        """Return true or false; false where it is missing."""
        value = self._left.pop(name, False)
        if not isinstance(value, bool):
            raise ValueError(f"{self._name}.{name} must be true or false")  # noqa: TRY004 - as above
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of some texts; the first where it is missing."""
        value = self.optional(name, choices[0])
        if value not in choices:
            raise ValueError(f"{self._name}.{name} is one of {', '.join(choices)}")
        return value or choices[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of texts that must be there."""
        value = self._left.pop(name, None)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError(f"{self._name}.{name} must be given as a list of texts")
        return tuple(value)

    def table(self, name: str) -> Settings | None:
        """Return a section within this one; None where it is missing."""
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, dict):
            raise ValueError(f"[{self._name}.{name}] must be a section")
        return None if value is None else Settings(f"{self._name}.{name}", value, self._folder)

    def tables(self, name: str) -> list[Settings]:
        """Return the sections `[[NAME]]` within this one, which must be there."""
        value = self._left.pop(name, None)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise ValueError(f"[[{self._name}.{name}]] must be given, once for each")
        return [Settings(f"{self._name}.{name}", item, self._folder) for item in value]

    def names(self) -> tuple[str, ...]:
        """Return the names of all settings that were not read yet."""
        return tuple(self._left)

    def secret(self, name: str) -> str | None:
        """Return what the environment variable holds that the setting `NAME_env` names: no secret stands in the file."""
        variable = self.optional(f"{name}_env")
        value = None if variable is None else os.environ.get(variable)
        if variable is not None and not value:
            raise ValueError(f"{self._name}.{name}_env names the variable {variable}, which is not set")
        return value

    def end(self) -> None:
        """Refuse settings that nobody asked for: a misspelt one must not be passed over."""
        if self._left:
            raise ValueError(f"{self._name}: unknown setting {', '.join(sorted(self._left))}{self.kind}")
