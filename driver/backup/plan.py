"""What to back up, in which order, for one configuration. Nothing is read but the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import join, quote
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from strongroom.driver.config import LocalKms, MultiKms, named_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from strongroom.driver.config import StrongroomConfig

_AFTER_DATABASE = "after the database, so that it has every KEK that the database names"
_AFTER_MOMENT = "after the newest moment that is to be restored, so that it has every KEK that the database names at it"
_ELSEWHERE = "keep it in another place than the database: a person with both can read every row"
_WITH_SECRETS = "keep it where secrets are kept, not next to the dump"
_OWNER = (
    "first, because every other part must be at least as new; OWNER is the role that owns the tables, because row-level security "
    "hides rows from the driver role, so that its dump fails. Give its password in PGPASSWORD or ~/.pgpass"
)
_ARCHIVING = (
    "wal_level = replica",
    "archive_mode = on",
    "archive_command = 'test ! -f WAL-ARCHIVE/%f && cp %p WAL-ARCHIVE/%f'",
    "archive_timeout = 60",
)
"""The settings with which a server archives its write-ahead log."""
_FROM_START = (
    "before the first base backup, because only the archived log leads from a base backup to a later moment; archive_mode needs a "
    "restart of the server"
)
_BASE = (
    "the whole server, with all its databases and roles; REPLICATION is a role with this attribute, and with EXECUTE on "
    "pg_switch_wal() in this database. The tool of an operator (pgBackRest, Barman, WAL-G) or the backups of a managed server may "
    "replace this step, the archive and the next two steps"
)
_VERIFIED = "it compares the files with their manifest, and not with the other parts of the set"
_SWITCH = (
    "the log up to now is archived next, and then every moment since the end of the base backup can be restored. Keep each file that "
    "is newer than the oldest base backup. A restore to a moment after now needs newer copies of the keyring and of the audit log"
)
_CERTIFICATES = (
    "after a restore, shred each namespace again that has a certificate; strongroom backup check --certificate needs them if a KMS "
    "forgets deleted KEKs"
)
_CHECK = "only a restored server is checked, because neither a dump nor a base backup nor a log shows whether the set fits together"
_PARAMETERS = ("host=", "port=", "dbname=")
_KMS = (
    "nothing to copy: make sure that the KMS itself is backed up, and keeps each KEK for as long as any backup needs it"
)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a backup.

    Attributes:
        part: The part of the cell: database, write-ahead log, keys, audit log, configuration, anchors, search index or certificates;
            `check` for the check of the whole set.
        what: What to back up: a path, or a server without its password.
        how: A command, or what to do.
        why: The reason for the place in the order, or for the way.
    """

    part: str
    what: str
    how: str
    why: str


def plan(
    config: StrongroomConfig,
    path: Path,
    variables: Mapping[str, str],
    *,
    has_secret: bool = False,
    physical: bool = False,
) -> list[Step]:
    """Return the steps of a backup, in the order in which they must be made.

    Args:
        config: The cell's configuration.
        path: Its file.
        variables: The settings that name an environment variable with a secret, and the names of the variables.
        has_secret: Whether the file itself holds a secret, for example a password in `database.dsn`.
        physical: Whether the database is backed up with a base backup and an archived write-ahead log, in place of a dump.
    """
    return [
        *(_physical(config) if physical else _dump(config)),
        *_keys(config, _AFTER_MOMENT if physical else _AFTER_DATABASE),
        *_audit(config, "that moment" if physical else "the database"),
        *_configuration(config, path, variables, has_secret=has_secret),
        *_anchors(config),
        *_search(config),
        Step(
            "certificates",
            "the erasure certificates of shredded namespaces",
            "keep them outside of the database",
            _CERTIFICATES,
        ),
        _check(config, path, has_secret=has_secret, physical=physical),
    ]


def _dump(config: StrongroomConfig) -> Iterator[Step]:
    owner = quote(without_password(config.dsn, user="OWNER"))
    dump = f"pg_dump --format=custom --schema=strongroom --file=strongroom.dump {owner}"
    yield Step("database", without_password(config.dsn), dump, _OWNER)


def _physical(config: StrongroomConfig) -> Iterator[Step]:
    server, role = without_password(config.dsn), quote(without_password(config.dsn, user="REPLICATION"))
    yield Step("database", server, f"once, in postgresql.conf: {'; '.join(_ARCHIVING)}", _FROM_START)
    yield Step("database", server, f"pg_basebackup --dbname={role} --pgdata=BACKUP/base --checkpoint=fast", _BASE)
    yield Step("database", "BACKUP/base", "pg_verifybackup BACKUP/base", _VERIFIED)
    yield Step("write-ahead log", "WAL-ARCHIVE", f'psql {role} -c "SELECT pg_switch_wal()"', _SWITCH)


def _check(config: StrongroomConfig, path: Path, *, has_secret: bool, physical: bool) -> Step:
    """Return the step that checks the whole set, with the options for its copies."""
    words = ["strongroom", "--config", path.name if has_secret else f"BACKUP/{path.name}", "backup", "check"]
    words += ["--dsn", "RESTORED"]
    for provider_id, section in config.kms.items():
        if isinstance(section, LocalKms):
            words += ["--keyring", f"{provider_id}=BACKUP-OF-KEYS/{section.keyring.name}"]
    if config.audit_folder is not None:
        words += ["--audit", f"BACKUP/{config.audit_folder.name}"]
    target = (
        "on another server, to a moment before the copies of the other parts" if physical else "into an empty database"
    )
    return Step("check", "the whole set", f"restore it {target}, then: {join(words)}", _CHECK)


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


def _keys(config: StrongroomConfig, after: str) -> Iterator[Step]:
    for provider_id, section in config.kms.items():
        if isinstance(section, LocalKms):
            yield Step(
                "keys",
                str(section.keyring),
                f"cp -p {quote(str(section.keyring))} BACKUP-OF-KEYS/",
                f"{after}; {_ELSEWHERE}",
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


def _audit(config: StrongroomConfig, after: str) -> Iterator[Step]:
    if config.audit_folder is not None:
        how = f"on each host: cp -rp {quote(str(config.audit_folder))} BACKUP/"
        yield Step(
            "audit log",
            str(config.audit_folder),
            how,
            f"after {after}, so that it has every record that a checkpoint in the database covers",
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
