"""The files and folders that a configuration names, each with its setting."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from pydantic.dataclasses import is_pydantic_dataclass

from .schema import FileMark
from .sections import TlsSection

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .config import StrongroomConfig


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file or a folder that a configuration names.

    Attributes:
        setting: The setting, for example `kms.local.keyring`.
        path: The path.
        is_secret: Whether the file holds a secret, or may hold one.
    """

    setting: str
    path: Path
    is_secret: bool


def named_files(config: StrongroomConfig) -> Iterator[NamedFile]:
    """Yield the files that a configuration names, for example certificates and keyrings, and the audit folder. Sockets are left out.

    Args:
        config: The configuration.
    """
    tls = config.database_tls
    yield from _files("database.tls", TlsSection(ca_certs=tls.ca_certs, certificate=tls.certificate, key=tls.key))
    for provider_id, section in config.kms.items():
        yield from _files(f"kms.{provider_id}", section)
    if config.audit_folder is not None:
        yield NamedFile("audit.folder", config.audit_folder, is_secret=False)
    for name in ("anchor", "elasticsearch", "codec_server", "serve"):
        yield from _files(name, getattr(config, name))


def _files(path: str, value: Any) -> Iterator[NamedFile]:
    """Yield the files of a section and of the sections in it, by the types of their settings."""
    if not is_pydantic_dataclass(type(value)):
        return  # no section, for example the address of a server, which may be a socket
    hints = get_type_hints(type(value), include_extras=True)
    for each in fields(value):
        setting, found, marks = f"{path}.{each.name}", getattr(value, each.name), set(_marks(hints[each.name]))
        if not isinstance(found, Path):
            yield from _files(setting, found)
        elif FileMark.SOCKET not in marks:
            yield NamedFile(setting, found, FileMark.SECRET in marks)


def _marks(hint: Any) -> Iterator[FileMark]:
    """Yield the marks in the annotation of a setting, also of an optional one."""
    for each in get_args(hint):
        if isinstance(each, FileMark):
            yield each
        else:
            yield from _marks(each)
