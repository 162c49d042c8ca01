"""What to back up, in which order, for one configuration. Nothing is read but the configuration."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from strongroom.driver.config import LocalKms, MultiKms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.driver.config import StrongroomConfig

_AFTER_DATABASE = "after the database, so that it has every KEK that the database names"
_ELSEWHERE = "keep it in another place than the database: a person with both can read every row"
_KMS = (
    "nothing to copy: make sure that the KMS itself is backed up, and keeps each KEK for as long as any backup needs it"
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a backup.

    Attributes:
        part: The part of the cell: database, keys, audit log, configuration, anchors or search index.
        what: What to back up: a path, or a server without its password.
        how: A command, or what to do.
        why: The reason for the place in the order, or for the way.
    """

    part: str
    what: str
    how: str
    why: str


def plan(config: StrongroomConfig, path: Path, variables: Mapping[str, str]) -> list[Step]:
    """Return the steps of a backup, in the order in which they must be made.

    Args:
        config: The cell's configuration.
        path: Its file.
        variables: The settings that name an environment variable with a secret, and the names of the variables.
    """
    database = without_password(config.dsn)
    dump = f"pg_dump --format=custom --schema=strongroom --file=strongroom.dump {database}"
    return [
        Step("database", database, dump, "first, because every other part must be at least as new"),
        *_keys(config),
        *_audit(config),
        *_configuration(config, path, variables),
        *_anchors(config),
        *_search(config),
        Step(
            "certificates",
            "the erasure certificates of shredded namespaces",
            "keep them outside of the database",
            "after a restore, shred each namespace again that has a certificate",
        ),
    ]


def without_password(dsn: str) -> str:
    """Return a connection string without the password and without parameters."""
    parts = urlsplit(dsn)
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    host_parameter = [each for each in parts.query.split("&") if each.startswith(("host=", "port="))]
    netloc = f"{name}@{host}" if name else host
    return urlunsplit((parts.scheme, netloc, parts.path, "&".join(host_parameter), ""))


def files_of(value: Any) -> Iterator[Path]:
    """Yield every path that a configuration names, for example of certificates, keys and keyrings. The audit folder is one of them."""
    if isinstance(value, Path):
        yield value
    elif is_dataclass(value):
        for each in fields(value):
            yield from files_of(getattr(value, each.name))
    elif hasattr(value, "items"):
        for each in value.values():
            yield from files_of(each)
    elif isinstance(value, list | tuple | frozenset):
        for each in value:
            yield from files_of(each)


def _keys(config: StrongroomConfig) -> Iterator[Step]:
    for provider_id, section in config.kms.items():
        if isinstance(section, LocalKms):
            yield Step(
                "keys",
                str(section.keyring),
                f"cp -p {section.keyring} BACKUP-OF-KEYS/",
                f"{_AFTER_DATABASE}; {_ELSEWHERE}",
            )
            if section.passphrase is not None:
                how = "keep it in a third place"
                yield Step(
                    "keys",
                    f"the passphrase of [kms.{provider_id}]",
                    how,
                    "the copy of the keyring can't be used without it",
                )
        elif not isinstance(section, MultiKms):
            yield Step(
                "keys",
                f"[kms.{provider_id}], {section.type}",
                _KMS,
                "a deleted KEK makes every backup under it unreadable",
            )


def _audit(config: StrongroomConfig) -> Iterator[Step]:
    if config.audit_folder is not None:
        how = f"on each host: cp -rp {config.audit_folder} BACKUP/"
        yield Step(
            "audit log",
            str(config.audit_folder),
            how,
            "after the database, so that it has every record that a checkpoint in the database covers",
        )


def _configuration(config: StrongroomConfig, path: Path, variables: Mapping[str, str]) -> Iterator[Step]:
    why = "the id of the cell is in every sealed value, and the pin of its keys is here"
    yield Step("configuration", str(path), f"cp -p {path} BACKUP/", why)
    keyrings = {section.keyring for section in config.kms.values() if isinstance(section, LocalKms)}
    for file in dict.fromkeys(files_of(config)):
        if file not in keyrings and file != config.audit_folder:
            yield Step("configuration", str(file), f"cp -p {file} BACKUP/", "the configuration names it")
    for setting, variable in variables.items():
        how = "keep it where secrets are kept"
        yield Step("configuration", f"the environment variable {variable}", how, f"{setting} names it")


def _anchors(config: StrongroomConfig) -> Iterator[Step]:
    if config.anchor is None:
        return
    yield Step(
        "anchors",
        f"bucket {config.anchor.bucket}, prefix {config.anchor.prefix}",
        "nothing to copy: its objects are locked and have versions",
        "a restored database is refused until its state is accepted; a drill gets no [anchor] or another prefix",
    )


def _search(config: StrongroomConfig) -> Iterator[Step]:
    if config.elasticsearch is not None:
        how = "nothing to copy: strongroom index build --rebuild"
        yield Step("search index", f"index {config.elasticsearch.index}", how, "it is built again from the database")
