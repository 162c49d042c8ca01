"""The keyring file of the local provider: KEKs and their versions as JSON, readable by its owner only (FORMAT.md section 8).

A write replaces the whole file. A reader sees either the old or the new file, even after a crash.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from strongroom.kms.durable_file import replace_file
from strongroom.kms.errors import KeyringFileError
from strongroom.kms.private_files import read_private
from strongroom.kms.secret import Secret

from .content import Kek, KeyringFile

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "strongroom-keyring/1"
SCRYPT = {"n": 2**17, "r": 8, "p": 1}  # 128 MiB and about a third of a second; OWASP's first recommendation for scrypt
_SCRYPT_MAX = {"n": 2**18, "r": 8, "p": 4}  # the most that a file may require: 256 MiB
_CHECK = b"strongroom keyring"
_NONCE_BYTES = 12
_CHANGE = re.compile(r"[0-9a-f]{16}")


def new_keyring(passphrase: str | None = None) -> KeyringFile:
    """Return an empty keyring. With a passphrase its KEKs are sealed under a key derived by scrypt."""
    if passphrase is None:
        return KeyringFile()
    return KeyringFile(protection={"kdf": "scrypt", **SCRYPT, "salt": _b64(os.urandom(16))})


def read_keyring(path: Path, passphrase: str | None = None) -> KeyringFile:
    """Read and check a keyring file.

    Raises:
        KeyringFileError: The file is missing, not a regular file, readable by others, damaged, or sealed under another passphrase.
    """
    content = _read_private(path)
    try:
        document = json.loads(content)
        protection = {FORMAT: document["protection"]}[document["format"]]
        wrapping = _opened(protection, passphrase, path)
        keks = {kek_id: _read_kek(kek_id, versions, wrapping) for kek_id, versions in document["keks"].items()}
        lineage = _read_lineage(document["lineage"])
        deleted = {
            kek_id: {int(version): str(when) for version, when in versions.items()}
            for kek_id, versions in document["deleted"].items()
        }
        return KeyringFile(keks, protection, UUID(document["id"]), lineage, deleted)
    except InvalidTag:
        msg = f"{path}: the passphrase does not open this keyring, or the file was altered"
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        msg = f"{path} is damaged, because it is not a keyring of format {FORMAT}; restore it from a backup, without it no value opens"
    # Raised outside the handlers, because a JSON error quotes the file with its keys and would be the context of this error.
    raise KeyringFileError(msg)


def write_keyring(path: Path, keyring: KeyringFile, passphrase: str | None = None) -> None:
    """Replace a keyring file atomically and durably, with mode 0600.

    Raises:
        KeyringFileError: The file can't be written.
    """
    wrapping = None if keyring.protection is None else _wrapping_key(keyring.protection, passphrase, path)
    protection = keyring.protection
    if wrapping is not None:
        protection = {**(protection or {}), "check": _seal(wrapping, _CHECK, _associated("", 0))}
    document = {
        "format": FORMAT,
        "id": str(keyring.keyring_id),
        "lineage": keyring.lineage,
        "protection": protection,
        "keks": {
            kek_id: {
                str(version): {"created": kek.created[version], "key": _write_key(kek_id, version, key, wrapping)}
                for version, key in kek.versions.items()
            }
            for kek_id, kek in keyring.keks.items()
        },
        "deleted": {kek_id: {str(n): when for n, when in each.items()} for kek_id, each in keyring.deleted.items()},
    }
    try:
        replace_file(path, json.dumps(document, indent=1).encode())
    except OSError as error:
        msg = f"can't write the keyring {path}: {error.strerror}"
        raise KeyringFileError(msg) from error


def lock(path: Path) -> int:
    """Lock a keyring against other writers, on this host and on others that share the file. Closing the result unlocks it.

    Read, change and write the file in between. This waits for another writer, so call it in a thread.

    Raises:
        KeyringFileError: The lock can't be taken.
    """
    descriptor = -1
    try:
        descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if descriptor >= 0:
            os.close(descriptor)
        msg = f"can't write in the folder of the keyring {path}: {error.strerror}"
        raise KeyringFileError(msg) from error
    return descriptor


def _read_private(path: Path) -> bytes:
    try:
        return read_private(path)
    except FileNotFoundError:
        msg = (
            f"the keyring {path} is missing; copy it from the host that has it, or restore it from a backup "
            "(of a new cell: run `strongroom init`)"
        )
        raise KeyringFileError(msg) from None
    except OSError as error:
        msg = f"can't read the keyring {path}: {error.strerror}"
        raise KeyringFileError(msg) from error


def _opened(protection: dict[str, Any] | None, passphrase: str | None, path: Path) -> AESGCM | None:
    """Return the cipher that opens the KEKs of a file, after checking that the passphrase belongs to the file."""
    if protection is None:
        if passphrase:
            msg = f"{path} is not protected, but a passphrase is configured; the file may have been replaced"
            raise KeyringFileError(msg)
        return None
    wrapping = _wrapping_key(protection, passphrase, path)
    if _open(wrapping, protection["check"], _associated("", 0)) != _CHECK:
        raise ValueError
    return wrapping


def _wrapping_key(protection: dict[str, Any], passphrase: str | None, path: Path) -> AESGCM:
    if protection["kdf"] != "scrypt":
        raise ValueError
    cost = {name: int(protection[name]) for name in ("n", "r", "p")}
    if any(not 0 < cost[name] <= most for name, most in _SCRYPT_MAX.items()):
        raise ValueError
    if not passphrase:
        msg = f"{path} is protected by a passphrase, but none is configured"
        raise KeyringFileError(msg)
    return AESGCM(Scrypt(salt=_unb64(protection["salt"]), length=32, **cost).derive(passphrase.encode()))


def _read_lineage(lineage: Any) -> list[str]:
    if not isinstance(lineage, list) or not lineage or not all(_CHANGE.fullmatch(change) for change in lineage):
        raise ValueError
    return lineage


def _read_kek(kek_id: str, versions: dict[str, Any], wrapping: AESGCM | None) -> Kek:
    keys = {}
    for number, entry in versions.items():
        associated = _associated(kek_id, int(number))
        material = _unb64(entry["key"]) if wrapping is None else _open(wrapping, entry["key"], associated)
        if len(material) != 32 or int(number) < 1:  # noqa: PLR2004 - AES-256
            raise ValueError
        keys[int(number)] = Secret(material)
    if not keys:
        raise ValueError
    return Kek(keys, {int(number): str(entry["created"]) for number, entry in versions.items()})


def _write_key(kek_id: str, version: int, key: Secret, wrapping: AESGCM | None) -> str:
    return _b64(key.reveal()) if wrapping is None else _seal(wrapping, key.reveal(), _associated(kek_id, version))


def _seal(wrapping: AESGCM, material: bytes, associated: bytes) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return _b64(nonce + wrapping.encrypt(nonce, material, associated))


def _open(wrapping: AESGCM, sealed: str, associated: bytes) -> bytes:
    material = _unb64(sealed)
    return wrapping.decrypt(material[:_NONCE_BYTES], material[_NONCE_BYTES:], associated)


def _associated(kek_id: str, version: int) -> bytes:
    return f"{FORMAT}\x00{version}\x00{kek_id}".encode()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
