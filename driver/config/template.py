"""Write the configuration file of a new cell."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from uuid import uuid4

from strongroom.kms import check_region, remove_unfinished, sync_folder, temporary_of
from strongroom.storage import is_local

from .errors import ConfigError

_INSECURE = "insecure = true  # no TLS: the database is on this machine, on a Unix socket or a loopback address\n"
_NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS))
"""Errors of file systems without hard links, such as FAT or the shared folders of virtual machines."""

KEYRING = "strongroom-keyring.json"
SYSTEM_AUDIT = "/var/lib/strongroom/audit"
"""The audit log's folder for a configuration below /etc, where services can't write."""


def write_config(path: Path, *, dsn: str, keyring: str = KEYRING, shards: int = 512, region: str | None = None) -> None:
    """Write the configuration of a new cell; see `new_config` and `create_config`.

    Args:
        path: The new file.
        dsn: The PostgreSQL connection string.
        keyring: The path of the keyring file, relative to the folder of `path`.
        shards: The number of shards, 1 to 16384.
        region: The region that the cell is bound to; None for none.

    Raises:
        ConfigError: The file exists, or can't be written.
        InvalidRequest: `dsn` is not a PostgreSQL connection string, or `region` is not the name of a region.
    """
    create_config(path, new_config(path, dsn=dsn, keyring=keyring, shards=shards, region=region))


def new_config(path: Path, *, dsn: str, keyring: str = KEYRING, shards: int = 512, region: str | None = None) -> str:
    """Return the text of the configuration of a new cell, with a new cell id.

    Args:
        path: The file that the text is for. Below /etc, the audit log's folder is not next to it.
        dsn: The PostgreSQL connection string.
        keyring: The path of the keyring file, relative to the folder of `path`.
        shards: The number of shards, 1 to 16384.
        region: The region that the cell is bound to; None for none.

    Raises:
        ConfigError: A setting holds a control character.
        InvalidRequest: `dsn` is not a PostgreSQL connection string, or `region` is not the name of a region.
    """
    audit = SYSTEM_AUDIT if Path("/etc") in path.absolute().parents else "audit"
    bound = "" if region is None else f'region = "{check_region(region)}"'
    cell_region = f"{bound}  # bound into every sealed value too; never change it\n" if bound else ""
    local_region = f"{bound}  # the region of the keyring\n" if bound else ""
    return f"""\
# A Strongroom cell. Keep this file, and a copy of the keyring in a safe place: without the keyring nothing can be opened.
# docs/reference/configuration.md has every setting. `strongroom doctor` checks what is set here.

[cell]
id = "{uuid4()}"  # in the associated data of every sealed value; never change it
shards = {shards}  # fixed for the life of the cell
{cell_region}
[database]
dsn = {_toml_string(dsn)}  # the environment variable STRONGROOM_DSN takes precedence
{_INSECURE if is_local(dsn) else ""}\
# distributed = true  # after `strongroom schema apply --distributed` on a Citus cluster

# Every other host is reached over TLS 1.3. Its certificate and its name are verified. A changed file is used for the next connection.
# [database.tls]
# ca_certs = "ca.pem"  # relative to this file's folder; without it the system's authorities
# certificate = "client.pem"  # for a server that asks for one; with its key, or with the key in `key`

# How long unwrapped keys are used before the KMS is asked again (a revoked KEK stops all use within these times), and when
# `strongroom keys rotate --due` rotates data keys. The same in all processes.
# [keys]
# soft_ttl_seconds = 300
# encrypt_ttl_seconds = 900
# decrypt_ttl_seconds = 3600
# max_namespaces = 20000  # more than the cell has
# rotate_after_days = 90

# The audit log: every call of a session, every command, every use of a key. See docs/how-to/audit-log.md.
[audit]
folder = "{audit}"  # relative to this file's folder. It belongs to one user of this machine: run each command as this user

# After `strongroom access init NAME` every command needs a principal. With this setting that is so even if the policy is deleted.
# [access]
# enforce = true

# The KEK of a namespace that a Temporal server creates. {{id}} is the namespace's id, so each namespace has a KEK of its own.
# [namespaces]
# kek = "local:ns-{{id}}"
# shred_after_days = 7  # from a deletion by Temporal to the destruction of the keys

# Searches are answered by PostgreSQL, or by this index. Run `strongroom index build` after you add it.
# [elasticsearch]
# url = "https://localhost:9200"  # or a list of nodes: ["https://es1:9200", "https://es2:9200"]
# ca_certs = "ca.pem"  # relative to this file's folder; certificate and key for a cluster that asks for them
# api_key_env = "STRONGROOM_ES_API_KEY"

# Callers for whom sealed payloads are opened: see docs/how-to/codec-server.md, and `strongroom codec-server`.
# [codec_server]
# listen = "127.0.0.1:8443"

# A KMS provider. KEKs are named PROVIDER:KEY, here local:KEY. Other types: vault, aws-kms, gcp-kms, azure-keyvault, pkcs11, multi.
[kms.local]
type = "local"
keyring = {_toml_string(keyring)}  # relative to this file's folder
{local_region}# passphrase_env = "STRONGROOM_PASSPHRASE"  # for a keyring with a passphrase: set it before the first `init`
"""


def create_config(path: Path, content: str) -> None:
    """Create a configuration file with mode 0600, because the dsn may hold a password. After a crash it is whole, or does not exist.

    Args:
        path: The new file.
        content: Its text.

    Raises:
        ConfigError: The file exists, or can't be written.
    """
    try:
        remove_unfinished(path)
        temporary = temporary_of(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        msg = f"can't write {path}: {error.strerror}"
        raise ConfigError(msg) from None


def _publish(temporary: Path, path: Path) -> None:
    """Give a file its name. It fails if a file of this name exists."""
    try:
        path.hardlink_to(temporary)  # unlike a renaming, it never replaces a file
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        temporary.rename(path)


def _toml_string(text: str) -> str:
    if not text.isprintable():
        msg = "a setting holds a control character; take it out"
        raise ConfigError(msg)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
