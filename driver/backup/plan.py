"""What to back up, in which order, for one configuration. Nothing is read but the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from strongroom.driver.config import LocalKms, MultiKms, named_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from strongroom.driver.config import StrongroomConfig

_AFTER_DATABASE = "after the database, so that it has every KEK that the database names"
_ELSEWHERE = "keep it in another place than the database: a person with both can read every row"
_WITH_SECRETS = "keep it where secrets are kept, not next to the dump"
_OWNER = (
    "first, because every other part must be at least as new; OWNER is the role that owns the tables, because row-level security "
    "hides rows from the driver role, so that its dump fails. Give its password in PGPASSWORD or ~/.pgpass"
)
_PARAMETERS = ("host=", "port=", "dbname=")
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


def plan(config: StrongroomConfig, path: Path, variables: Mapping[str, str], *, has_secret: bool = False) -> list[Step]:
    """Return the steps of a backup, in the order in which they must be made.

    Args:
        config: The cell's configuration.
        path: Its file.
        variables: The settings that name an environment variable with a secret, and the names of the variables.
        has_secret: Whether the file itself holds a secret, for example a password in `database.dsn`.
    """
    owner = quote(without_password(config.dsn, user="OWNER"))
    dump = f"pg_dump --format=custom --schema=strongroom --file=strongroom.dump {owner}"
    return [
        Step("database", without_password(config.dsn), dump, _OWNER),
        *_keys(config),
        *_audit(config),
        *_configuration(config, path, variables, has_secret=has_secret),
        *_anchors(config),
        *_search(config),
        Step(
            "certificates",
            "the erasure certificates of shredded namespaces",
            "keep them outside of the database",
            "after a restore, shred each namespace again that has a certificate",
        ),
    ]


def without_password(dsn: str, user: str | None = None) -> str:
    """Return a connection string without the password, and only with the parameters that name the database.

    Args:
        dsn: The connection string.
        user: Another role; None for the role of the connection string.
    """
    parts = urlsplit(dsn)
    named, _, host = parts.netloc.rpartition("@")
    name = user or named.partition(":")[0]
    kept = (*_PARAMETERS, *(() if user else ("user=",)))
    parameters = [each for each in parts.query.split("&") if each.startswith(kept)]
    server = f"{name}@{host}" if name else host
    # Not `urlunsplit`, which leaves // out if there is no host.
    return f"{parts.scheme}://{server}{parts.path}{'?' if parameters else ''}{'&'.join(parameters)}"


def _keys(config: StrongroomConfig) -> Iterator[Step]:
    for provider_id, section in config.kms.items():
        if isinstance(section, LocalKms):
            yield Step(
                "keys",
                str(section.keyring),
                f"cp -p {quote(str(section.keyring))} BACKUP-OF-KEYS/",
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
        how = f"on each host: cp -rp {quote(str(config.audit_folder))} BACKUP/"
        yield Step(
            "audit log",
            str(config.audit_folder),
            how,
            "after the database, so that it has every record that a checkpoint in the database covers",
        )


def _configuration(
    config: StrongroomConfig, path: Path, variables: Mapping[str, str], *, has_secret: bool
) -> Iterator[Step]:
    why = "the id of the cell is in every sealed value, and the pin of its keys is here"
    if has_secret:
        yield Step("configuration", str(path), _WITH_SECRETS, f"{why}; it holds a password or another secret")
    else:
        yield Step("configuration", str(path), f"cp -p {quote(str(path))} BACKUP/", why)
    keyrings = {section.keyring for section in config.kms.values() if isinstance(section, LocalKms)}
    found = [each for each in named_files(config) if each.path not in keyrings and each.path != config.audit_folder]
    secrets = {each.path for each in found if each.is_secret}
    settings: dict[Path, list[str]] = {}
    for each in found:
        settings.setdefault(each.path, []).append(each.setting)
    for file, names in settings.items():
        how = _WITH_SECRETS if file in secrets else f"cp -p {quote(str(file))} BACKUP/"
        yield Step("configuration", str(file), how, f"named by {', '.join(names)}")
    for setting, variable in variables.items():
        yield Step("configuration", f"the environment variable {variable}", _WITH_SECRETS, f"named by {setting}")


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
